//! Who may come in, and what each may do: seen from outside, by those who may not.

mod bounds;
mod certificates;
mod doors;
mod intruders;
mod scene;
