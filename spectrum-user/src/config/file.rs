//! Brings the text of a configuration file into memory.

use std::{fs::File, io::Read as _, path::Path};

use super::{
    diagnostic::{ConfigErrors, Diagnostic, Fault, Place, Severity},
    source::Source,
};

pub(super) fn read(path: &Path) -> Result<String, ConfigErrors> {
    let name = path.display().to_string();
    let refused = |fault| ConfigErrors::of(Diagnostic::of_file(&name, fault));
    let bytes = bytes(path).map_err(|error| {
        let help = match error.kind() {
            std::io::ErrorKind::NotFound => "write the path of an existing file after --config",
            std::io::ErrorKind::PermissionDenied => "let this user read it, or run as one who may",
            std::io::ErrorKind::IsADirectory => "name the file in it, spectrum.toml for instance",
            _ => "write the path of a readable file after --config",
        };
        refused(Fault::new(format!("cannot read the configuration: {error}")).help(help))
    })?;
    if bytes.len() as u64 > LARGEST {
        let fault = Fault::new(format!("the configuration is larger than {} MiB", LARGEST >> 20));
        return Err(refused(fault.help("is it the right file?")));
    }
    String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        let source = Source::new(&name, &String::from_utf8_lossy(error.as_bytes()));
        let fault = Fault::new("the configuration is not UTF-8").help("save the file as UTF-8");
        let place = Place { span: at..at + 1, key: String::new() };
        ConfigErrors::of(Diagnostic::new(&source, &place, Severity::Error, fault))
    })
}

fn bytes(path: &Path) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    // Never more than is looked at: the path may be a device.
    File::open(path)?.take(LARGEST + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Room for as many access rules as the kernel maps take.
const LARGEST: u64 = 64 << 20;
