//! Who holds a lease.

use serde::{Deserialize, Serialize};

/// One run of one program, and where it runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    /// Unique for each run of a process.
    pub id: String,
    /// The machine's name.
    pub host: String,
    /// The process, as its own machine counts.
    pub pid: u32,
    /// When the process started, in the kernel's ticks since boot: a process id comes back, this pair does not.
    pub process_start: Option<String>,
    /// Which boot of the machine it is.
    pub boot_id: Option<String>,
    /// In which namespace `pid` counts: two containers of one machine share everything else.
    pub pid_namespace: Option<String>,
    /// The page of the CI run.
    pub run_url: Option<String>,
    /// The user's name.
    pub user: Option<String>,
    /// The program, such as `railway-deployer`.
    pub program: String,
}

impl Holder {
    /// Describes this process; each call makes another holder.
    #[must_use]
    pub fn of_this_process(program: impl Into<String>) -> Self {
        let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        let pid = std::process::id();
        Self {
            id: uuid::Uuid::new_v4().to_string(),
            host: rustix::system::uname().nodename().to_string_lossy().into_owned(),
            pid,
            process_start: match process(pid) {
                Process::Runs { start } => Some(start),
                Process::Gone | Process::Unknown => None,
            },
            boot_id: boot_id(),
            pid_namespace: pid_namespace(),
            run_url: run_url(&variable),
            user: variable("GITHUB_ACTOR").or_else(|| variable("USER")).or_else(|| variable("LOGNAME")),
            program: program.into(),
        }
    }

    /// Whether the process is known to be gone: it ran on this machine, in this boot, where process ids mean
    /// the same, and is no more. When in doubt it is not.
    #[must_use]
    pub fn is_gone(&self) -> bool {
        let here = |theirs: &Option<String>, ours: Option<String>| theirs.is_some() && *theirs == ours;
        if self.host != rustix::system::uname().nodename().to_string_lossy()
            || !here(&self.boot_id, boot_id())
            || !here(&self.pid_namespace, pid_namespace())
        {
            return false;
        }
        let Some(their_start) = &self.process_start else { return false };
        match process(self.pid) {
            Process::Gone => true,
            Process::Runs { start } => start != *their_start,
            Process::Unknown => false,
        }
    }
}

impl std::fmt::Display for Holder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} (process {} on {}", self.program, self.pid, self.host)?;
        if let Some(user) = &self.user {
            write!(f, ", {user}")?;
        }
        f.write_str(")")?;
        if let Some(url) = &self.run_url {
            write!(f, ", {url}")?;
        }
        Ok(())
    }
}

/// GitHub Actions says the parts, GitLab the whole, HCP Terraform only the run.
fn run_url(variable: &dyn Fn(&str) -> Option<String>) -> Option<String> {
    let github = || {
        let (server, repository, run) =
            (variable("GITHUB_SERVER_URL")?, variable("GITHUB_REPOSITORY")?, variable("GITHUB_RUN_ID")?);
        Some(format!("{server}/{repository}/actions/runs/{run}"))
    };
    let hcp = || {
        let run = variable("TFC_RUN_ID")?;
        // With organisation and workspace there is a page; without, the id still finds it.
        match (variable("TFC_WORKSPACE_SLUG"), variable("TF_CLOUD_HOSTNAME")) {
            (Some(slug), host) => {
                let host = host.unwrap_or_else(|| "app.terraform.io".to_owned());
                let (organisation, workspace) = slug.split_once('/')?;
                Some(format!("https://{host}/app/{organisation}/workspaces/{workspace}/runs/{run}"))
            }
            (None, _) => Some(run),
        }
    };
    github().or_else(|| variable("CI_JOB_URL")).or_else(hcp)
}

enum Process {
    Runs { start: String },
    Gone,
    Unknown,
}

#[cfg(target_os = "linux")]
fn process(pid: u32) -> Process {
    let Some(id) = i32::try_from(pid).ok().and_then(rustix::process::Pid::from_raw) else {
        return Process::Unknown;
    };
    // Not by `/proc` alone: it can hide the processes of other users.
    if rustix::process::test_kill_process(id) == Err(rustix::io::Errno::SRCH) {
        return Process::Gone;
    }
    let Ok(stat) = std::fs::read_to_string(format!("/proc/{pid}/stat")) else { return Process::Unknown };
    // The name stands in brackets and may itself hold spaces and brackets. Behind it come the state, and as
    // the twentieth word the start.
    let words: Vec<&str> =
        stat.rsplit_once(')').map(|(_, rest)| rest.split_whitespace().collect()).unwrap_or_default();
    match (words.first(), words.get(19)) {
        // Dead, and not yet collected by its parent.
        (Some(&("Z" | "X" | "x")), _) => Process::Gone,
        (Some(_), Some(ticks)) => Process::Runs { start: (*ticks).to_owned() },
        _ => Process::Unknown,
    }
}

#[cfg(not(target_os = "linux"))]
fn process(_pid: u32) -> Process {
    Process::Unknown
}

fn boot_id() -> Option<String> {
    let text = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    Some(text.trim().to_owned()).filter(|text| !text.is_empty())
}

fn pid_namespace() -> Option<String> {
    std::fs::read_link("/proc/self/ns/pid").ok().map(|path| path.to_string_lossy().into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_is_not_gone_and_holders_differ() {
        let (one, other) = (Holder::of_this_process("test"), Holder::of_this_process("test"));
        assert_ne!(one.id, other.id);
        assert!(!one.is_gone());
        assert_eq!(one.pid, std::process::id());
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_process_is_gone_once_it_died_also_before_it_is_collected() {
        let mut child = std::process::Command::new("sleep").arg("600").spawn().unwrap();
        let Process::Runs { start } = process(child.id()) else { panic!("the child runs") };
        let ours = Holder::of_this_process("test");
        let holder = Holder { pid: child.id(), process_start: Some(start), ..ours };
        assert!(!holder.is_gone());
        assert!(
            Holder { process_start: Some("1".to_owned()), ..holder.clone() }.is_gone(),
            "another process"
        );
        child.kill().unwrap();
        // Not collected yet; the kernel marks it when the signal has done its work.
        while !holder.is_gone() {
            std::thread::yield_now();
        }
        child.wait().unwrap();
        assert!(holder.is_gone());
        for elsewhere in [
            Holder { host: "elsewhere".to_owned(), ..holder.clone() },
            Holder { boot_id: Some("another".to_owned()), ..holder.clone() },
            Holder { boot_id: None, ..holder.clone() },
            Holder { pid_namespace: Some("pid:[1]".to_owned()), ..holder.clone() },
            Holder { pid_namespace: None, ..holder.clone() },
            Holder { process_start: None, ..holder.clone() },
        ] {
            assert!(!elsewhere.is_gone(), "{elsewhere:?}");
        }
    }

    #[test]
    fn the_page_of_the_run_comes_from_the_environment() {
        let of = |variables: &[(&str, &str)]| {
            run_url(&|name| {
                variables.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned())
            })
        };
        let github = [
            ("GITHUB_SERVER_URL", "https://github.com"),
            ("GITHUB_REPOSITORY", "acme/shop"),
            ("GITHUB_RUN_ID", "42"),
            ("TFC_RUN_ID", "run-1"),
        ];
        assert_eq!(of(&github).unwrap(), "https://github.com/acme/shop/actions/runs/42");
        assert_eq!(of(&github[1..3]), None);
        assert_eq!(of(&[("TFC_RUN_ID", "run-1")]).unwrap(), "run-1");
        assert_eq!(
            of(&[("TFC_RUN_ID", "run-1"), ("TFC_WORKSPACE_SLUG", "acme/shop")]).unwrap(),
            "https://app.terraform.io/app/acme/workspaces/shop/runs/run-1"
        );
    }
}
