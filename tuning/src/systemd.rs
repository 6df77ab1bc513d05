//! Units for systemd: one that applies the settings at boot and takes them back when it is stopped, and a hardened one for the
//! broker.

use std::path::{Path, PathBuf};

/// What the units are made for.
#[derive(Clone, Debug)]
pub struct Units {
    /// The folder of the programs.
    pub programs: PathBuf,
    /// The broker's settings.
    pub settings: PathBuf,
    /// Its log directories.
    pub data_dirs: Vec<PathBuf>,
    pub user: String,
}

pub const TUNE_UNIT: &str = "ringlog-tune.service";
pub const BROKER_UNIT: &str = "ringlog.service";
/// Made by systemd itself, for the broker's user.
pub const OWN_DATA_DIR: &str = "/var/lib/ringlog/data";

impl Units {
    /// Paths that a unit cannot name as they are.
    pub fn refusal(&self) -> Option<String> {
        let named = [&self.programs, &self.settings].into_iter().chain(&self.data_dirs);
        for path in named {
            let text = path.display().to_string();
            if !path.is_absolute() || text.contains(|c: char| c.is_whitespace() || "%$\\\"';".contains(c)) {
                return Some(format!("{text}: units take absolute paths without blanks and quotes"));
            }
        }
        let fine = |c: char| c.is_ascii_alphanumeric() || "_-".contains(c);
        (self.user.is_empty() || !self.user.chars().all(fine)).then(|| format!("{:?} is no user", self.user))
    }

    /// Host settings, at boot.
    pub fn tune(&self) -> String {
        let tune = self.programs.join("ringlog-tune");
        let tune = tune.display();
        let data = self.data_dirs.first().map_or(Path::new(OWN_DATA_DIR), AsRef::as_ref).display();
        format!(
            "[Unit]
Description=Host settings for Ringlog
After=systemd-sysctl.service local-fs.target network-pre.target
Before={BROKER_UNIT}
ConditionVirtualization=!container

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart={tune} apply --yes --data-dir {data}
ExecStop={tune} undo --yes
# The record of what was there. Its folder is root's: undo writes what it says.
StateDirectory=ringlog
NoNewPrivileges=yes
ProtectHome=yes
ProtectSystem=strict
PrivateTmp=yes
RestrictAddressFamilies=AF_UNIX
RestrictNamespaces=yes
MemoryDenyWriteExecute=yes
SystemCallArchitectures=native

[Install]
WantedBy=multi-user.target
"
        )
    }

    /// The broker.
    pub fn broker(&self) -> String {
        let ringlog = self.programs.join("ringlog");
        let (ringlog, settings, user) = (ringlog.display(), self.settings.display(), &self.user);
        let data: Vec<String> =
            self.data_dirs.iter().map(|dir| format!("ReadWritePaths={}\n", dir.display())).collect();
        let data = data.concat();
        format!(
            "[Unit]
Description=Ringlog
After=network-online.target local-fs.target {TUNE_UNIT}
Wants=network-online.target

[Service]
Type=exec
User={user}
Group={user}
ExecStart={ringlog} start {settings}
Restart=on-failure
RestartSec=2
# A clean stop ends when what was acknowledged is on disk.
KillSignal=SIGTERM
TimeoutStopSec=60

# Connections, segments and journals are open files.
LimitNOFILE=1048576
LimitMEMLOCK=infinity
LimitCORE=0
OOMScoreAdjust=-900
# Cores pin themselves (ringlog.cores); to keep everything else off these CPUs, too: AllowedCPUs= in other slices.

# {OWN_DATA_DIR}, this user's; its parent is root's, as the record of host settings is in there.
StateDirectory=ringlog/data
StateDirectoryMode=0750
{data}ProtectSystem=strict
ProtectHome=yes
PrivateTmp=yes
PrivateDevices=yes
ProtectClock=yes
ProtectControlGroups=yes
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
ProtectProc=invisible
NoNewPrivileges=yes
CapabilityBoundingSet=
AmbientCapabilities=
LockPersonality=yes
MemoryDenyWriteExecute=yes
RemoveIPC=yes
RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
SystemCallArchitectures=native
# io_uring by name: not every release of systemd has it in a group. What is not allowed answers EPERM and kills nothing.
SystemCallFilter=@system-service io_uring_setup io_uring_enter io_uring_register
SystemCallErrorNumber=EPERM
UMask=0027

[Install]
WantedBy=multi-user.target
"
        )
    }
}
