//! Histories made by chance. Gaps of time are drawn around the waits of the product: the flush
//! window, the grace, the start grace, the age of a heartbeat.

use crate::dice::Dice;
use crate::history::{DEVICES, Fate, History, Setup, Step, USERS, Weather, What};

const DEADLINE_MS: u64 = 5_000;
/// Later landings than this after the last ambiguity are nobody's promise without sweep and fence.
const WATCHED_MS: u64 = 29_000;
/// A healthy drain, and until the successor has noticed it.
const DRAINED_MS: u64 = 8_000;

pub(crate) fn history(seed: u64, weather: Weather, fence: bool) -> History {
    let mut dice = Dice::new(seed);
    let setup = Setup {
        latency_ms: dice.between(5, 200),
        lag_ms: dice.pick(&[0, 0, 0, 3, 40]),
        batch_users: dice.pick(&[1, 2, 3, 400]),
        fence,
        own_names: dice.percent(25),
        spread: dice.percent(40),
        skew_ms: dice.pick(&[0, 0, 700, -700, 20_000, -20_000]),
    };
    let length = dice.between(4, 40);
    let mut author = Author {
        dice,
        weather,
        fence,
        now_ms: 0,
        wish: [[false; DEVICES]; USERS],
        users: USERS,
        deploying_until_ms: 0,
        steps: vec![Step {
            at_ms: 0,
            what: What::Start,
        }],
    };
    author.users = usize::try_from(author.dice.between(1, USERS as u64)).unwrap_or(1);
    for _ in 0..length {
        author.pause();
        author.something();
    }
    let mut steps = author.steps;
    steps.sort_by_key(|step| step.at_ms);
    History {
        seed,
        weather,
        setup,
        steps,
    }
}

struct Author {
    dice: Dice,
    weather: Weather,
    fence: bool,
    now_ms: u64,
    /// Which devices want to be connected.
    wish: [[bool; DEVICES]; USERS],
    users: usize,
    deploying_until_ms: u64,
    steps: Vec<Step>,
}

impl Author {
    fn pause(&mut self) {
        self.now_ms += match self.dice.below(20) {
            0..=7 => self.dice.between(0, 400),
            8..=12 => self.dice.between(200, 3_000),
            13..=16 => self.dice.between(3_000, 9_000),
            17..=18 => self.dice.between(9_500, 13_000),
            _ => self.dice.between(15_000, 45_000),
        };
    }

    fn write(&mut self, what: What) {
        self.write_at(self.now_ms, what);
    }

    fn write_at(&mut self, at_ms: u64, what: What) {
        self.steps.push(Step { at_ms, what });
    }

    fn something(&mut self) {
        let special = match self.weather {
            Weather::Calm => 5,
            Weather::Faults | Weather::Storm => 45,
            Weather::Crashes => 15,
            Weather::Deploys => 20,
        };
        if !self.dice.percent(special) {
            return self.somebody_moves();
        }
        match self.weather {
            Weather::Calm => self.clock_jumps(),
            Weather::Faults if self.dice.percent(5) => self.stands_still(),
            Weather::Faults => self.fault(WATCHED_MS),
            Weather::Crashes => self.crash(500),
            Weather::Deploys => self.deploy(),
            Weather::Storm => match self.dice.below(20) {
                0..=1 => self.crash(20),
                2..=4 => self.deploy(),
                5 => self.stands_still(),
                6 => self.clock_jumps(),
                _ => self.fault(60_000),
            },
        }
    }

    fn somebody_moves(&mut self) {
        let user = usize::try_from(self.dice.below(self.users as u64)).unwrap_or(0);
        let device = usize::from(self.dice.percent(30));
        let flaps = if self.dice.percent(12) {
            self.dice.between(2, 6)
        } else {
            1
        };
        for _ in 0..flaps {
            self.toggle(user, device);
            if flaps > 1 {
                self.now_ms += self.dice.between(0, 400);
            }
        }
    }

    fn toggle(&mut self, user: usize, device: usize) {
        let wish = &mut self.wish[user][device];
        *wish = !*wish;
        let what = if *wish {
            What::Connect { user, device }
        } else {
            What::Disconnect { user, device }
        };
        self.write(what);
    }

    fn clock_jumps(&mut self) {
        let ms = self
            .dice
            .pick(&[3_600_000, -3_600_000, 300_000, -300_000, 15_000, -15_000]);
        self.write(What::Clock { ms });
    }

    fn stands_still(&mut self) {
        let ms = self.dice.pick(&[500, 4_000, 9_000, 12_000, 31_000, 45_000]);
        self.write(What::Suspend { ms });
    }

    /// Whoever wants to be connected comes back, most of them soon, some of them late or not at all.
    fn everybody_returns(&mut self, from_ms: u64) {
        for user in 0..self.users {
            for device in 0..DEVICES {
                if !self.wish[user][device] {
                    continue;
                }
                let delay = match self.dice.below(10) {
                    0..=6 => self.dice.between(0, 8_000),
                    7 => self.dice.between(8_000, 40_000),
                    8 => self.dice.between(40_000, 80_000),
                    _ => {
                        self.wish[user][device] = false;
                        continue;
                    }
                };
                self.write_at(from_ms + delay, What::Connect { user, device });
            }
        }
    }

    fn crash(&mut self, soonest_ms: u64) {
        let oldest = self.dice.percent(50);
        self.write(What::Kill { oldest });
        let away = match self.dice.below(4) {
            0..=1 => self.dice.between(soonest_ms, 4_000),
            2 => self.dice.between(4_000, 25_000),
            _ => self.dice.between(25_000, 70_000),
        };
        let back = self.now_ms + away;
        self.write_at(back, What::Start);
        self.everybody_returns(back);
        self.now_ms = back;
    }

    /// One deploy after the other: three processes at once are a cluster, which one record for
    /// each user does not serve. A storm minds nothing.
    fn deploy(&mut self) {
        if self.now_ms < self.deploying_until_ms && self.weather != Weather::Storm {
            return self.somebody_moves();
        }
        self.write(What::Start);
        let overlap = match self.dice.below(4) {
            0 => self.dice.between(0, 1_000),
            1..=2 => self.dice.between(1_000, 20_000),
            _ => self.dice.between(20_000, 70_000),
        };
        let drain = self.now_ms + overlap;
        let handover = self.dice.percent(50);
        self.write_at(drain, What::Drain { handover });
        self.everybody_returns(drain);
        self.deploying_until_ms = drain + DRAINED_MS;
        // People move during the overlap, too.
        if self.dice.percent(50) {
            self.now_ms = drain;
        }
    }

    fn fault(&mut self, latest_ms: u64) {
        let what = match self.dice.below(20) {
            0..=12 => What::Write(self.fate(latest_ms)),
            13 if self.fence => What::Take(self.fate(latest_ms)),
            13..=14 => What::Beat(self.fate(2_000)),
            15 => What::LookFails,
            16..=17 => What::RereadFails,
            _ => What::Outage {
                ms: self.dice.between(300, 60_000),
                hangs: self.dice.percent(40),
            },
        };
        self.write(what);
    }

    fn fate(&mut self, latest_ms: u64) -> Fate {
        match self.dice.below(12) {
            0..=1 => Fate::NotSent,
            2 => Fate::Busy {
                ms: self.dice.between(0, 8_000),
            },
            3 if self.dice.percent(30) => Fate::Denied,
            3..=4 => Fate::Slow {
                ms: self.dice.between(300, DEADLINE_MS - 100),
            },
            _ => self.ambiguity(latest_ms),
        }
    }

    fn ambiguity(&mut self, latest_ms: u64) -> Fate {
        let given_up_after_ms = if self.dice.percent(50) {
            DEADLINE_MS
        } else {
            self.dice.between(10, 300)
        };
        let lands_after_ms = match self.dice.below(10) {
            0..=1 => None,
            2..=4 => Some(self.dice.between(0, 100)),
            5..=7 => Some(self.dice.between(100, 12_000)),
            _ => Some(self.dice.between(12_000, 65_000)),
        };
        let lands_after_ms = lands_after_ms.map(|ms| ms.min(latest_ms + given_up_after_ms));
        Fate::Ambiguous {
            given_up_after_ms,
            lands_after_ms,
        }
    }
}
