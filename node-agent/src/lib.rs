//! A node of a fleet: joins a scheduler, holds models and components, executes attempts.
