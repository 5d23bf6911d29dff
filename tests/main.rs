//! Every property of the store, by what it is about.

mod demo;
mod model;
mod save_load;
mod support;
