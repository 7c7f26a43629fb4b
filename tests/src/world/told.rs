//! Servers from the distribution that read a PROXY header, each in its own way, and show whom it names.

use super::{
    namespace::DIRECTORY,
    origin::{Origin, Program},
};

/// The edge's addresses on the origin's side: whose headers are believed.
const EDGES: &str = "203.0.113.1, 2001:db8:f::1";

/// Where mail that Postfix took ends.
pub const MAILBOX: &str = "/mnt/postfix/mail/box";

impl Origin {
    /// Answers each request with client, edge, and what else the header says.
    pub fn haproxy_told(&self) -> Program {
        let text = "defaults\n mode http\n timeout client 30s\n timeout connect 5s\n timeout server 30s\n\
             frontend told\n bind :8080 accept-proxy\n bind :::8080 v6only accept-proxy\n \
             http-request return status 200 content-type text/plain lf-string \
             \"%[src] %[src_port] %[dst] %[dst_port] id=%[fc_pp_unique_id] authority=%[fc_pp_authority]\\n\"\n";
        let config = self.namespace().write("haproxy.cfg", text);
        self.program("haproxy", &["-db", "-f", config.to_str().expect("UTF-8")], 8080)
    }

    /// The same of nginx.
    pub fn nginx_told(&self) -> Program {
        let text = format!(
            "daemon off; user root; worker_processes 1; pid {DIRECTORY}/told.pid; error_log stderr;\n\
             events {{ worker_connections 1024; }}\n\
             http {{ access_log off; client_body_temp_path {DIRECTORY}/b; proxy_temp_path {DIRECTORY}/p;\n\
             fastcgi_temp_path {DIRECTORY}/f; uwsgi_temp_path {DIRECTORY}/u; scgi_temp_path {DIRECTORY}/s;\n\
             server {{ listen 8081 proxy_protocol; listen [::]:8081 proxy_protocol;\n\
             return 200 \"$proxy_protocol_addr $proxy_protocol_port $proxy_protocol_server_addr \
             $proxy_protocol_server_port\\n\"; }} }}\n"
        );
        let config = self.namespace().write("told.conf", text);
        self.program("nginx", &["-p", DIRECTORY, "-e", "stderr", "-c", config.to_str().expect("UTF-8")], 8081)
    }

    /// Port 25 expects a header, port 26 does not; both log whom they see. Mail to `box@example.com` goes into [`MAILBOX`].
    pub fn postfix(&self) -> Program {
        let directory = format!("{DIRECTORY}/postfix");
        for part in ["queue", "data", "mail"] {
            self.namespace().stdout("mkdir", &["-p", &format!("{directory}/{part}")]);
        }
        self.namespace().stdout("chown", &["postfix", &format!("{directory}/data")]);
        self.namespace().stdout("chown", &["nobody", &format!("{directory}/mail")]);
        let main = format!(
            "compatibility_level = 3.6\nqueue_directory = {directory}/queue\ndata_directory = {directory}/data\n\
             maillog_file = /dev/stdout\nmyhostname = mx.example.com\nmydestination =\ninet_interfaces = all\n\
             inet_protocols = all\nalias_maps =\nlocal_recipient_maps =\nsmtpd_peername_lookup = no\n\
             smtpd_tls_security_level = none\nsmtputf8_enable = no\nvirtual_mailbox_domains = example.com\n\
             virtual_mailbox_base = {directory}/mail\nvirtual_mailbox_maps = static:box\n\
             virtual_uid_maps = static:65534\nvirtual_gid_maps = static:65534\n"
        );
        let master = "25 inet n - n - - smtpd -o smtpd_upstream_proxy_protocol=haproxy\n26 inet n - n - - smtpd\n\
             postlog unix-dgram n - n - 1 postlogd\nanvil unix - - n - 1 anvil\nrewrite unix - - n - - trivial-rewrite\n\
             pickup unix n - n 60 1 pickup\ncleanup unix n - n - 0 cleanup\nqmgr unix n - n 300 1 qmgr\n\
             proxymap unix - - n - - proxymap\nvirtual unix - n n - - virtual\nbounce unix - - n - 0 bounce\n\
             defer unix - - n - 0 bounce\ntrace unix - - n - 0 bounce\nerror unix - - n - - error\n\
             retry unix - - n - - error\n";
        self.namespace().write("postfix/main.cf", main);
        self.namespace().write("postfix/master.cf", master);
        // Not as the first process of its namespace: who changes its user is no longer killed with its parent
        // (`commit_creds`, `kernel/cred.c`), and would outlive the test.
        self.program("sh", &["-c", &format!("postfix -c {directory} start-fg; exit")], 25)
    }

    /// Port 143 expects a header; logs whom it sees.
    pub fn dovecot(&self) -> Program {
        let text = format!(
            "protocols = imap\nlisten = *, ::\nbase_dir = {DIRECTORY}/dovecot\nstate_dir = {DIRECTORY}/dovecot-state\n\
             log_path = /dev/stderr\nssl = no\nhaproxy_trusted_networks = {EDGES}\n\
             passdb {{\n driver = static\n args = nopassword=yes\n}}\n\
             userdb {{\n driver = static\n args = uid=65534 gid=65534 home={DIRECTORY}\n}}\n\
             service imap-login {{\n inet_listener imap {{\n port = 143\n haproxy = yes\n }}\n \
             inet_listener imaps {{\n port = 0\n }}\n}}\n"
        );
        let config = self.namespace().write("dovecot.conf", text);
        self.program("dovecot", &["-F", "-c", config.to_str().expect("UTF-8")], 143)
    }
}
