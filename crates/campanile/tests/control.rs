//! The control plane through real sockets: every operation and its rules, accounts, policies, quotas, temporary keys.

mod common;

#[path = "control/accounts.rs"]
mod accounts;
#[path = "control/connections.rs"]
mod connections;
#[path = "control/contract.rs"]
mod contract;
#[path = "control/data_messages.rs"]
mod data_messages;
#[path = "control/durability.rs"]
mod durability;
#[path = "control/events.rs"]
mod events;
#[path = "control/frames.rs"]
mod frames;
#[path = "control/hostile.rs"]
mod hostile;
#[path = "control/moderation.rs"]
mod moderation;
#[path = "control/operations.rs"]
mod operations;
