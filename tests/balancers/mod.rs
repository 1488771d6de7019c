//! Ways to depool against real balancers: what every one of them keeps ([`contract`]), and what is HAProxy's and the
//! health URL's own.

mod contract;
mod follower;
mod haproxy_killed;
mod ill;
mod killed;
mod lame_duck;
mod meddler;
mod mid_run;
mod scene;
mod sessions;
mod states;
mod told;
mod ways;
