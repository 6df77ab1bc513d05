//! The referee: judges a history of what clients asked and were told. It knows Kafka's promises and nothing of any broker's
//! insides; its input is [`history`], from the simulator, from real runs, or from elsewhere.

pub mod history;
