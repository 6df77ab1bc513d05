//! The broker's instruments. Each core counts into words of its own ([`core`], [`meter`]) and publishes nothing: the admin thread
//! ([`admin`]) reads them when it is asked over HTTP ([`http`]), asks the cores by mail for what only they know ([`gather`],
//! [`tell`]), and writes pages ([`scrape`], [`page`]) of what the one table ([`table`]) has.

pub mod admin;
pub mod core;
pub mod gather;
pub mod http;
pub mod meter;
pub mod page;
pub mod process;
pub mod scrape;
pub mod table;
pub mod tell;
