//! Servers of the distribution for files and things.

use super::{
    namespace::DIRECTORY,
    origin::{Origin, Program},
};

impl Origin {
    /// Serves one file, `large`, to everybody; its data connections arrive at ports 40000 to 40009.
    pub fn vsftpd(&self) -> Program {
        let root = format!("{DIRECTORY}/ftp");
        for directory in [&root, &format!("{DIRECTORY}/ftp-empty")] {
            self.namespace().stdout("mkdir", &["-p", directory]);
        }
        self.namespace().write("ftp/large", vec![b'f'; 3_000_000]);
        let text = format!(
            "listen=NO\nlisten_ipv6=YES\nbackground=NO\nanonymous_enable=YES\nlocal_enable=NO\nanon_root={root}\n\
             secure_chroot_dir={DIRECTORY}/ftp-empty\nno_anon_password=YES\npasv_min_port=40000\npasv_max_port=40009\n\
             xferlog_enable=NO\nseccomp_sandbox=NO\n"
        );
        let config = self.namespace().write("vsftpd.conf", text);
        // Not as the first process of its namespace: a session takes that parent for init, and itself for an orphan.
        self.program("sh", &["-c", &format!("vsftpd {}; exit", config.display())], 21)
    }

    pub fn mosquitto(&self) -> Program {
        let config = self.namespace().write("mosquitto.conf", "listener 1883\nallow_anonymous true\nuser root\n");
        self.program("mosquitto", &["-c", config.to_str().expect("UTF-8")], 1883)
    }
}
