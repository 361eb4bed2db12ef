//! To come.
use crate::domain::presence::Transition;
#[derive(Clone)]
pub struct MirrorHandle;
impl MirrorHandle {
    pub async fn want(&self, _t: Transition) {}
}
