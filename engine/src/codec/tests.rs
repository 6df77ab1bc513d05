//! Round trips, limits and damage for every codec.
