//! Stagger.
