//! Services that a real systemd restarts: what its units themselves wrote down decides.

mod helper;
