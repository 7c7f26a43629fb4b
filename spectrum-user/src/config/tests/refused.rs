//! Values that are refused, each with its place, its message and what to do about it.

use super::*;
