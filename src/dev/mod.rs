//! `presence-bridge dev`: a local stand-in for Firebase over real HTTP, and a demo page.
