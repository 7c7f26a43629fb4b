//! From the object to verified programs and their maps.

use std::hash::{BuildHasher as _, RandomState};

use aya::{
    Ebpf, EbpfLoader,
    programs::{SkLookup, Xdp},
};
use spectrum_common::names;

use super::{
    object::{ObjectMissing, object},
    pins::Pins,
};

#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    #[error(transparent)]
    NoObject(#[from] ObjectMissing),
    #[error("create the maps of the eBPF object")]
    Maps(#[source] aya::EbpfError),
    #[error("the object has no program {0}")]
    NoProgram(&'static str),
    #[error("the kernel refuses program {name}")]
    Program {
        name: &'static str,
        #[source]
        source: aya::programs::ProgramError,
    },
}

/// How the object is loaded.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options<'a> {
    /// Maps are opened from, or created and pinned, here; else they live as long as the [`Ebpf`].
    pub pins: Option<&'a Pins>,
    /// Of these maps only; the others are private (`spectrum why`).
    pub only: Option<&'a [&'static str]>,
    /// Every verdict becomes an event.
    pub explain: bool,
    /// Highest level of aya-log, 0 for none: then the verifier removes the logging altogether.
    pub log_level: u8,
}

/// Programs that the verifier has accepted, and their maps.
pub struct Loaded {
    pub ebpf: Ebpf,
}

impl Loaded {
    pub fn load(options: Options<'_>) -> Result<Self, LoadError> {
        let explain = u8::from(options.explain);
        // Keyed by the system's randomness (`RandomState`), so nobody outside can tell which sources share a cell.
        let seed = RandomState::new().hash_one(names::SEED);
        let mut loader = EbpfLoader::new();
        loader.override_global(names::EXPLAIN, &explain, true).override_global(
            names::LOG_LEVEL,
            &options.log_level,
            true,
        );
        loader.override_global(names::SEED, &seed, true);
        if let Some(pins) = options.pins {
            for name in options.only.unwrap_or(&names::MAPS) {
                loader.map_pin_path(name, pins.map(name));
            }
        }
        let mut loaded = Self { ebpf: loader.load(object()?).map_err(LoadError::Maps)? };
        loaded.xdp()?.load().map_err(|source| LoadError::Program { name: names::XDP, source })?;
        loaded.steer()?.load().map_err(|source| LoadError::Program { name: names::STEER_PROGRAM, source })?;
        Ok(loaded)
    }

    pub fn xdp(&mut self) -> Result<&mut Xdp, LoadError> {
        self.ebpf
            .program_mut(names::XDP)
            .and_then(|program| program.try_into().ok())
            .ok_or(LoadError::NoProgram(names::XDP))
    }

    pub fn steer(&mut self) -> Result<&mut SkLookup, LoadError> {
        self.ebpf
            .program_mut(names::STEER_PROGRAM)
            .and_then(|program| program.try_into().ok())
            .ok_or(LoadError::NoProgram(names::STEER_PROGRAM))
    }
}
