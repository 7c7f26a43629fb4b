fn main() {
    let mut l = spectrum_user::dataplane::load::Loaded::load(Default::default()).unwrap();
    let m = spectrum_user::dataplane::maps::ConfigMaps::open(spectrum_user::dataplane::maps::MapSource::Object(
        &mut l.ebpf,
    ))
    .unwrap();
    println!("{:?}", m.dump().unwrap());
    std::process::Command::new("bpftool").args(["map", "show"]).status().unwrap();
    std::process::Command::new("bpftool").args(["prog", "show"]).status().unwrap();
    std::process::Command::new("bpftool").args(["map", "dump", "name", "META"]).status().unwrap();
}
