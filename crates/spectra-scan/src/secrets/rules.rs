//! The rules: what credentials look like.
//!
//! A rule is looked at only where one of its keywords stands, so keywords decide the speed and patterns the precision. Patterns are
//! over bytes and ASCII. The secret is the first group, or the whole match if there is none. Adding a rule: put it here, and give
//! `rules_tests.rs` an example that it finds and one that it must leave alone.

use super::checks::{self, Candidate};
use crate::Severity;

/// One kind of credential.
#[derive(Debug)]
pub struct Rule {
    /// Its name; never changed, since lists of ignored findings depend on it.
    pub id: &'static str,
    /// What it is.
    pub title: &'static str,
    /// What somebody can do with it, at the worst.
    pub severity: Severity,
    /// In lower case; one of them stands in every text that the pattern matches.
    pub keywords: &'static [&'static str],
    /// Over bytes; the first group is the secret.
    pub pattern: &'static str,
    /// The least entropy of the secret, in bits a character: what is below is `xxxx` and the like.
    pub entropy: f64,
    /// What a pattern cannot say; true for a real one.
    pub check: fn(&Candidate<'_>) -> bool,
}

/// A rule for a token that tells what it is by its prefix.
const fn token(
    id: &'static str,
    title: &'static str,
    severity: Severity,
    keywords: &'static [&'static str],
    pattern: &'static str,
) -> Rule {
    Rule { id, title, severity, keywords, pattern, entropy: 3.0, check: checks::not_an_example }
}

const URL_SCHEMES: &[&str] = &[
    "postgres",
    "mysql",
    "mariadb",
    "mongodb",
    "redis",
    "amqp",
    "mssql",
    "sqlserver",
    "clickhouse",
    "http",
    "ftp",
];

const NAMES: &[&str] = &["key", "secret", "token", "passw", "passphrase", "credential", "pwd"];

/// All rules. Where several match one secret, the first counts.
pub const RULES: &[Rule] = &[
    Rule {
        id: "private-key",
        title: "Private key",
        severity: Severity::Critical,
        keywords: &["private key"],
        pattern: r"(-----BEGIN[ A-Z0-9]{0,32}PRIVATE KEY(?: BLOCK)?-----[^-]{0,300}?[A-Za-z0-9+/=]{40}[^-]*)",
        entropy: 3.5,
        check: checks::any,
    },
    token(
        "age-key",
        "age private key",
        Severity::Critical,
        &["age-secret-key-1"],
        r"\b(AGE-SECRET-KEY-1[0-9A-Z]{58})\b",
    ),
    token(
        "aws-access-key-id",
        "AWS access key id",
        Severity::High,
        &["akia", "asia", "abia", "acca"],
        r"\b((?:AKIA|ASIA|ABIA|ACCA)[A-Z2-7]{16})\b",
    ),
    Rule {
        id: "aws-secret-access-key",
        title: "AWS secret access key",
        severity: Severity::Critical,
        keywords: &["aws"],
        pattern: r#"(?i:aws[\w.-]{0,30}key)["'\])]{0,2}\s{0,5}(?::=|=>|=|:)\s{0,5}["'`]?([A-Za-z0-9/+]{40})(?:[^A-Za-z0-9/+=]|$)"#,
        entropy: 4.0,
        check: checks::not_an_example,
    },
    token(
        "github-token",
        "GitHub token",
        Severity::Critical,
        &["ghp_", "gho_", "ghu_", "ghs_", "ghr_"],
        r"\b(gh[pousr]_[A-Za-z0-9]{36,255})\b",
    ),
    token(
        "github-fine-grained-token",
        "GitHub fine-grained token",
        Severity::Critical,
        &["github_pat_"],
        r"\b(github_pat_[A-Za-z0-9]{22}_[A-Za-z0-9]{59})\b",
    ),
    token(
        "gitlab-token",
        "GitLab token",
        Severity::Critical,
        &["glpat-", "glptt-", "glrt-", "glcbt-", "gldt-", "glsoat-", "glft-", "glimt-", "glagent-", "gloas-"],
        r"\b(gl(?:pat|ptt|rt|cbt|dt|soat|ft|imt|agent|oas)-[A-Za-z0-9_-]{20,})",
    ),
    token(
        "slack-token",
        "Slack token",
        Severity::High,
        &["xox", "xapp-"],
        r"\b((?:xox[abeoprs]|xapp)-(?:[0-9A-Za-z]{1,14}-){1,4}[0-9A-Za-z]{16,})\b",
    ),
    token(
        "slack-webhook",
        "Slack webhook",
        Severity::Medium,
        &["hooks.slack.com"],
        r"(https://hooks\.slack\.com/(?:services|workflows|triggers)/T[A-Za-z0-9]{6,}/[A-Za-z0-9/]{24,})",
    ),
    token(
        "stripe-key",
        "Stripe key",
        Severity::Critical,
        &["sk_live_", "rk_live_", "sk_test_", "rk_test_", "whsec_"],
        r"\b((?:[sr]k_(?:live|test)|whsec)_[A-Za-z0-9]{16,})\b",
    ),
    Rule {
        id: "railway-token",
        title: "Railway token",
        severity: Severity::Critical,
        keywords: &["railway"],
        pattern: r#"(?i:railway[\w.-]{0,20}token)["'\])]{0,2}\s{0,5}(?::=|=>|=|:)?\s{0,5}["'`]?([0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12})\b"#,
        entropy: 3.0,
        check: checks::not_an_example,
    },
    token(
        "terraform-token",
        "HCP Terraform token",
        Severity::Critical,
        &[".atlasv1."],
        r"\b([A-Za-z0-9]{14}\.atlasv1\.[A-Za-z0-9_-]{60,70})",
    ),
    token(
        "vault-token",
        "Vault token",
        Severity::Critical,
        &["hvs.", "hvb.", "hvr."],
        r"\b(hv[sbr]\.[A-Za-z0-9_-]{24,})",
    ),
    token("npm-token", "npm token", Severity::Critical, &["npm_"], r"\b(npm_[A-Za-z0-9]{36})\b"),
    Rule {
        id: "npm-auth",
        title: "Login to an npm registry",
        severity: Severity::High,
        keywords: &["_authtoken", "_password", "_auth"],
        pattern: r#":_(?:authToken|password|auth)\s{0,3}=\s{0,3}["']?([A-Za-z0-9+/=_.-]{16,})"#,
        entropy: 3.0,
        check: checks::not_an_example,
    },
    token(
        "pypi-token",
        "PyPI token",
        Severity::Critical,
        &["pypi-age"],
        r"\b(pypi-AgE(?:IcHlwaS5vcmc|NdGVzdC5weXBpLm9yZw)[A-Za-z0-9_-]{50,})",
    ),
    token("rubygems-key", "RubyGems key", Severity::Critical, &["rubygems_"], r"\b(rubygems_[0-9a-f]{48})\b"),
    token("crates-io-token", "crates.io token", Severity::Critical, &["cio"], r"\b(cio[A-Za-z0-9]{32})\b"),
    token(
        "docker-hub-token",
        "Docker Hub token",
        Severity::Critical,
        &["dckr_pat_", "dckr_oat_"],
        r"\b(dckr_[po]at_[A-Za-z0-9_-]{27,})",
    ),
    Rule {
        id: "docker-auth",
        title: "Login to a registry, as Docker stores it",
        severity: Severity::High,
        keywords: &["\"auth\""],
        pattern: r#""auth"\s{0,5}:\s{0,5}"([A-Za-z0-9+/]{8,}={0,2})""#,
        entropy: 2.5,
        check: checks::is_login,
    },
    token(
        "google-api-key",
        "Google API key",
        Severity::High,
        &["aiza"],
        r"\b(AIza[0-9A-Za-z_-]{35})(?:[^0-9A-Za-z_-]|$)",
    ),
    token(
        "google-oauth-secret",
        "Google OAuth client secret",
        Severity::High,
        &["gocspx-"],
        r"\b(GOCSPX-[A-Za-z0-9_-]{28})",
    ),
    Rule {
        id: "google-service-account",
        title: "Key of a Google service account",
        severity: Severity::Critical,
        keywords: &["private_key_id"],
        pattern: r#""private_key_id"\s{0,5}:\s{0,5}"([0-9a-f]{40})""#,
        entropy: 3.0,
        check: checks::not_an_example,
    },
    token(
        "azure-storage-key",
        "Azure storage key",
        Severity::Critical,
        &["accountkey="],
        r"(?i:AccountKey)=([A-Za-z0-9+/]{86}==)",
    ),
    token(
        "azure-client-secret",
        "Azure client secret",
        Severity::Critical,
        &["q~"],
        r"(?:^|[^A-Za-z0-9_~.-])([A-Za-z0-9_~.]{3}[0-9]Q~[A-Za-z0-9_~.-]{31,34})(?:[^A-Za-z0-9_~.-]|$)",
    ),
    token(
        "sendgrid-key",
        "SendGrid key",
        Severity::High,
        &["sg."],
        r"\b(SG\.[A-Za-z0-9_-]{22}\.[A-Za-z0-9_-]{43})(?:[^A-Za-z0-9_-]|$)",
    ),
    token("twilio-key", "Twilio key", Severity::High, &["sk"], r"\b(SK[0-9a-f]{32})\b"),
    Rule {
        id: "twilio-auth-token",
        title: "Twilio auth token",
        severity: Severity::High,
        keywords: &["twilio"],
        pattern: r#"(?i:twilio[\w.-]{0,20}(?:token|secret))["'\])]{0,2}\s{0,5}(?::=|=>|=|:)\s{0,5}["'`]?([0-9a-f]{32})\b"#,
        entropy: 3.0,
        check: checks::not_an_example,
    },
    token("mailgun-key", "Mailgun key", Severity::High, &["key-"], r"\b(key-[0-9a-f]{32})\b"),
    token(
        "openai-key",
        "OpenAI key",
        Severity::High,
        &["t3blbkfj"],
        r"\b(sk-[A-Za-z0-9_-]{20,}T3BlbkFJ[A-Za-z0-9_-]{20,})",
    ),
    token(
        "anthropic-key",
        "Anthropic key",
        Severity::High,
        &["sk-ant-"],
        r"\b(sk-ant-[a-z]{3,8}[0-9]{2}-[A-Za-z0-9_-]{80,})",
    ),
    token("huggingface-token", "Hugging Face token", Severity::High, &["hf_"], r"\b(hf_[A-Za-z]{34})\b"),
    token(
        "digitalocean-token",
        "DigitalOcean token",
        Severity::Critical,
        &["doo_v1_", "dop_v1_", "dor_v1_"],
        r"\b(do[opr]_v1_[0-9a-f]{64})\b",
    ),
    token(
        "fly-token",
        "Fly.io token",
        Severity::Critical,
        &["fm2_", "fo1_"],
        r"\b(fm2_[A-Za-z0-9+/]{80,}={0,3}|fo1_[A-Za-z0-9_-]{43})",
    ),
    token(
        "planetscale-token",
        "PlanetScale credential",
        Severity::High,
        &["pscale_"],
        r"\b(pscale_(?:tkn|pw|oauth)_[A-Za-z0-9_.-]{32,64})",
    ),
    token(
        "grafana-token",
        "Grafana token",
        Severity::High,
        &["glsa_", "glc_"],
        r"\b(glsa_[A-Za-z0-9]{32}_[0-9a-fA-F]{8}|glc_[A-Za-z0-9+/]{32,}={0,3})",
    ),
    token(
        "sentry-token",
        "Sentry token",
        Severity::Medium,
        &["sntrys_", "sntryu_"],
        r"\b(sntry[su]_[A-Za-z0-9+/=_-]{40,})",
    ),
    token("newrelic-key", "New Relic key", Severity::High, &["nrak-"], r"\b(NRAK-[A-Z0-9]{27})\b"),
    token(
        "shopify-token",
        "Shopify token",
        Severity::High,
        &["shpat_", "shpca_", "shppa_", "shpss_"],
        r"\b(shp(?:at|ca|pa|ss)_[0-9a-fA-F]{32})\b",
    ),
    token("linear-key", "Linear key", Severity::Medium, &["lin_api_"], r"\b(lin_api_[A-Za-z0-9]{40})\b"),
    token(
        "doppler-token",
        "Doppler token",
        Severity::Critical,
        &["dp.pt.", "dp.st.", "dp.ct.", "dp.sa."],
        r"\b(dp\.(?:pt|ct|sa|st(?:\.[a-z0-9_-]{2,35})?)\.[A-Za-z0-9]{40,44})\b",
    ),
    token(
        "atlassian-token",
        "Atlassian token",
        Severity::High,
        &["atatt3"],
        r"\b(ATATT3[A-Za-z0-9_=-]{60,})",
    ),
    token(
        "discord-webhook",
        "Discord webhook",
        Severity::Medium,
        &["/api/webhooks/"],
        r"(https://(?:canary\.|ptb\.)?discord(?:app)?\.com/api/webhooks/[0-9]{17,20}/[A-Za-z0-9_-]{60,})",
    ),
    Rule {
        id: "jwt",
        title: "JSON web token",
        severity: Severity::Medium,
        keywords: &["eyj"],
        pattern: r"\b(eyJ[A-Za-z0-9_-]{8,}\.eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{16,})",
        entropy: 3.0,
        check: checks::is_jwt,
    },
    Rule {
        id: "url-password",
        title: "Password in a URL",
        severity: Severity::High,
        keywords: URL_SCHEMES,
        pattern: r#"\b(?i:postgres(?:ql)?|mysql|mariadb|mongodb(?:\+srv)?|rediss?|amqps?|mssql|sqlserver|clickhouse|https?|ftps?)://[^\s:@/"'`<>(){}\[\]$,;|]{0,100}:([^\s:@/"'`<>(){}\[\]$,;|]{3,200})@([A-Za-z0-9.\[\]_-]{1,200})"#,
        entropy: 0.0,
        check: checks::is_real_login,
    },
    Rule {
        id: "assigned-secret",
        title: "Random value with a secret's name",
        severity: Severity::Medium,
        keywords: NAMES,
        pattern: r#"(?i:[\w.-]{0,50}(?:api_?-?key|access_?-?key|auth_?-?key|secret_?-?key|private_?-?key|encryption_?-?key|signing_?-?key|secret|token|passwd|password|passphrase|credential|pwd)[\w.-]{0,20})["'`\])]{0,2}\s{0,5}(?::=|=>|=|:)\s{0,5}["'`]([A-Za-z0-9_+/=.~!@%^&*-]{16,200})["'`]"#,
        entropy: 3.6,
        check: checks::is_random,
    },
    Rule {
        id: "assigned-secret-line",
        title: "Random value with a secret's name",
        severity: Severity::Medium,
        keywords: NAMES,
        pattern: r"(?m)^[ \t]{0,40}(?:export[ \t]+|-[ \t]+)?(?:[A-Z0-9_]{0,50}(?:KEY|SECRET|TOKEN|PASSWD|PASSWORD|PASSPHRASE|CREDENTIAL|PWD)[A-Z0-9_]{0,20}[ \t]{0,5}[=:]|[a-z0-9_.-]{0,50}(?:api_?-?key|access_?-?key|secret|token|passwd|password|passphrase|credential|pwd)[a-z0-9_.-]{0,20}:)[ \t]{0,5}([A-Za-z0-9_+/=.~!@%^&*-]{16,200})[ \t]*(?:#.*)?\r?$",
        entropy: 3.6,
        check: checks::is_random,
    },
];
