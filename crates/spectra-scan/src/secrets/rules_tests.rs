//! Each rule, with what it finds and what it leaves alone. Examples are put together at run time, so that this file holds no secret.

use std::collections::BTreeSet;

use base64::Engine as _;

use super::{
    Trust,
    detect::{pattern, search},
    rules::RULES,
};

/// Letters and digits without a pattern, the same every time.
fn random(alphabet: &str, length: usize) -> String {
    let letters: Vec<char> = alphabet.chars().collect();
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    (0..length)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            letters[usize::try_from(state % letters.len() as u64).unwrap()]
        })
        .collect()
}

const ALNUM: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
const HEX: &str = "0123456789abcdef";
const UPPER: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";

fn alnum(length: usize) -> String {
    random(ALNUM, length)
}

fn hex(length: usize) -> String {
    random(HEX, length)
}

fn base64(text: &str) -> String {
    base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(text)
}

fn uuid() -> String {
    let hex = hex(32);
    format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
}

#[expect(clippy::too_many_lines, reason = "a table")]
/// The rule, and texts that hold what it looks for.
fn positives() -> Vec<(&'static str, String)> {
    let b = "-----BEGIN";
    vec![
        (
            "private-key",
            format!(
                "{b} RSA PRIVATE KEY-----\n{}\n{}\n-----END RSA PRIVATE KEY-----\n",
                alnum(64),
                alnum(64)
            ),
        ),
        ("private-key", format!("key = \"{b} PRIVATE KEY-----\\n{}\\n\"", alnum(64))),
        ("private-key", format!("{b} OPENSSH PRIVATE KEY-----\n{}\n", alnum(70))),
        ("private-key", format!("{b} PGP PRIVATE KEY BLOCK-----\nVersion: 1\n\n{}\n", alnum(64))),
        ("age-key", format!("AGE-SECRET-{}1{}", "KEY-", random("ABCDEFGHJKLMNPQRSTUVWXYZ23456789", 58))),
        ("aws-access-key-id", format!("id: {}{}", "AKIA", random(UPPER, 16))),
        ("aws-secret-access-key", format!("aws_secret_access_{}= {}", "key ", alnum(40))),
        ("aws-secret-access-key", format!("\"AwsSecretKey\": \"{}\"", alnum(40))),
        ("github-token", format!("GH={}_{}", "ghp", alnum(36))),
        ("github-token", format!("https://x:{}_{}@github.com/a/b", "ghs", alnum(36))),
        ("github-fine-grained-token", format!("{}_pat_{}_{}", "github", alnum(22), alnum(59))),
        ("gitlab-token", format!("{}-{}", "glpat", alnum(20))),
        (
            "slack-token",
            format!("{}-{}-{}-{}", "xoxb", random("0123456789", 12), random("0123456789", 12), alnum(24)),
        ),
        (
            "slack-webhook",
            format!(
                "https://hooks.slack.{}/services/T{}/B{}/{}",
                "com",
                random(UPPER, 8),
                random(UPPER, 8),
                alnum(24)
            ),
        ),
        ("stripe-key", format!("{}_live_{}", "sk", alnum(24))),
        ("stripe-key", format!("{}_{}", "whsec", alnum(32))),
        ("railway-token", format!("RAILWAY_TOKEN={}", uuid())),
        ("railway-token", format!("railway_api_token: \"{}\"", uuid())),
        ("railway-token", format!("RAILWAY_TOKEN {}", uuid())),
        ("terraform-token", format!("token = \"{}.{}.{}\"", alnum(14), "atlasv1", alnum(67))),
        ("vault-token", format!("{}.{}", "hvs", alnum(24))),
        ("npm-token", format!("{}_{}", "npm", alnum(36))),
        ("npm-auth", format!("//registry.company.io/:_auth{}={}", "Token", alnum(24))),
        ("pypi-token", format!("{}-AgEIcHlwaS5vcmc{}", "pypi", alnum(60))),
        ("rubygems-key", format!("{}_{}", "rubygems", hex(48))),
        ("crates-io-token", format!("{}{}", "cio", alnum(32))),
        ("docker-hub-token", format!("{}_pat_{}", "dckr", alnum(27))),
        (
            "docker-auth",
            format!(
                "{{\"auths\":{{\"r.io\":{{\"auth\": \"{}\"}}}}}}",
                base64::engine::general_purpose::STANDARD.encode(format!("bot:{}", alnum(12)))
            ),
        ),
        ("google-api-key", format!("{}{}", "AIza", alnum(35))),
        ("google-oauth-secret", format!("{}-{}", "GOCSPX", alnum(28))),
        ("google-service-account", format!("\"private_key_{}\": \"{}\"", "id", hex(40))),
        ("azure-storage-key", format!("AccountName=a;Account{}={}==;", "Key", alnum(86))),
        ("azure-client-secret", format!("secret: {}8{}{}", alnum(3), "Q~", alnum(34))),
        ("sendgrid-key", format!("{}.{}.{}", "SG", alnum(22), alnum(43))),
        ("twilio-key", format!("{}{}", "SK", hex(32))),
        ("twilio-auth-token", format!("TWILIO_AUTH_{}={}", "TOKEN", hex(32))),
        ("mailgun-key", format!("{}-{}", "key", hex(32))),
        ("openai-key", format!("{}-proj-{}{}{}", "sk", alnum(24), "T3BlbkFJ", alnum(24))),
        ("anthropic-key", format!("{}-ant-api03-{}", "sk", alnum(93))),
        ("huggingface-token", format!("{}_{}", "hf", random(&ALNUM[..52], 34))),
        ("digitalocean-token", format!("{}_v1_{}", "dop", hex(64))),
        ("fly-token", format!("FlyV1 {}_{}==", "fm2", alnum(100))),
        ("planetscale-token", format!("{}_tkn_{}", "pscale", alnum(43))),
        ("grafana-token", format!("{}_{}_{}", "glsa", alnum(32), hex(8))),
        ("sentry-token", format!("{}_{}", "sntrys", alnum(60))),
        ("newrelic-key", format!("{}-{}", "NRAK", random(UPPER, 27))),
        ("shopify-token", format!("{}_{}", "shpat", hex(32))),
        ("linear-key", format!("{}_api_{}", "lin", alnum(40))),
        ("doppler-token", format!("{}.pt.{}", "dp", alnum(43))),
        ("atlassian-token", format!("{}{}", "ATATT3", alnum(180))),
        (
            "discord-webhook",
            format!("https://discord.com/api/{}/{}/{}", "webhooks", random("123456789", 18), alnum(68)),
        ),
        (
            "jwt",
            format!(
                "Bearer {}.{}.{}",
                base64(r#"{"alg":"HS256","typ":"JWT"}"#),
                base64(r#"{"sub":"42"}"#),
                alnum(43)
            ),
        ),
        ("url-password", format!("postgres://app:{}@db.company.io:5432/app", alnum(12))),
        ("url-password", format!("mongodb+srv://u:{}@cluster0.mongodb.net", "Tr0ub4dor")),
        ("url-password", format!("redis://:{}@cache.railway.internal:6379", alnum(20))),
        ("assigned-secret", format!("let api_key = \"{}\";", alnum(32))),
        ("assigned-secret", format!("\"clientSecret\": '{}',", alnum(24))),
        ("assigned-secret", format!("PASSWORD := `{}`", alnum(20))),
        ("assigned-secret-line", format!("SESSION_SECRET={}\n", alnum(32))),
        (
            "assigned-secret-line",
            format!("  - export DB_PASSWORD={}\r\n", alnum(20)).replace("- export", "export"),
        ),
        ("assigned-secret-line", format!("password: {}  # of the database\n", alnum(20))),
    ]
}

/// Texts that look like secrets and are none.
fn negatives() -> Vec<String> {
    let b = "-----BEGIN";
    vec![
        // Talk about keys.
        format!("if text.contains(\"{b} RSA PRIVATE KEY-----\") {{"),
        format!("{b} PRIVATE KEY-----\n...\n-----END PRIVATE KEY-----"),
        format!("{b} PUBLIC KEY-----\n{}\n", alnum(64)),
        format!("{b} CERTIFICATE-----\n{}\n", alnum(64)),
        // Examples of documentation.
        format!("aws_access_key_id = {}IOSFODNN7EXAMPLE", "AKIA"),
        format!("aws_secret_access_key = wJalrXUtnFEMI/K7MDENG/bPxRfiCY{}", "EXAMPLEKEY"),
        format!("GITHUB_TOKEN={}_{}", "ghp", "x".repeat(36)),
        format!("{}_live_{}", "sk", "0".repeat(24)),
        format!("{}-your-token-goes-here-please", "glpat"),
        "RAILWAY_TOKEN=00000000-0000-0000-0000-000000000000".to_owned(),
        // References to a value, and not the value.
        "password = var.database_password_2".to_owned(),
        "api_key: ${{ secrets.DEPLOY_API_KEY_2 }}".to_owned(),
        "API_KEY=${DEPLOY_API_KEY_V2}".to_owned(),
        "token: \"${RAILWAY_API_TOKEN_1}\"".to_owned(),
        "secret = config[\"client_secret_v2\"]".to_owned(),
        "let token = std::env::var(\"RAILWAY_TOKEN_2\")?;".to_owned(),
        "password: \"correct-horse-battery-staple\"".to_owned(),
        "token_endpoint = \"https://login.company.io/oauth2/v2.0/token\"".to_owned(),
        "secret_name: \"my-service-secret-v2\"".to_owned(),
        "SECRET_PATH=/run/secrets/database_password_1".to_owned(),
        "image_key = \"sha256:0123456789abcdef0123456789abcdef\"".to_owned(),
        "password = \"aaaaaaaaaaaaaaaaaaaaaa11\"".to_owned(),
        "key: \"0a1b2c3d-not-a-secret\"".to_owned(),
        // Logins of documentation and of one's own machine.
        "postgres://postgres:postgres@db.company.io/app".to_owned(),
        format!("postgres://app:{}@localhost:5432/app", alnum(12)),
        format!("postgres://app:{}@127.0.0.1/app", alnum(12)),
        format!("https://user:{}@registry.example.com/v2/", alnum(12)),
        "https://user:password@company.io".to_owned(),
        "postgres://USER:PASSWORD@HOST/DATABASE".to_owned(),
        "postgres://${USER}:${PASSWORD}@db.company.io".to_owned(),
        "postgres://app:<password>@db.company.io".to_owned(),
        "http://company.io:8080/path@2x".to_owned(),
        "see https://company.io/a:b and mail x@y.io".to_owned(),
        "{\"auth\": \"Zm9vYmFy\"}".to_owned(),
        "{\"auth\": \"basic\"}".to_owned(),
        // Three parts with dots that are no token.
        format!("eyJ{}.eyJ{}.{}", "hello-hello", "hello-hello", "hello-hello-hello-hello"),
        "com.example.token.provider.v2.Authenticator".to_owned(),
        // Hashes under a name.
        format!("checksum = \"{}\"", hex(64)),
        format!("commit: {}", hex(40)),
    ]
}

fn found(text: &str) -> Vec<String> {
    search("file.txt", text.as_bytes(), 1, Trust::Given)
        .findings
        .into_iter()
        .map(|finding| finding.id)
        .collect()
}

#[test]
fn each_example_is_found_by_its_rule() {
    let positives = positives();
    for (rule, text) in &positives {
        assert_eq!(found(text), [*rule], "{text}");
        assert_eq!(
            found(&format!("before\n({text})\nafter")).len(),
            usize::from(!rule.ends_with("-line")),
            "{text}"
        );
    }
    let tried: BTreeSet<&str> = positives.iter().map(|(rule, _)| *rule).collect();
    let all: BTreeSet<&str> = RULES.iter().map(|rule| rule.id).collect();
    assert_eq!(tried, all, "a rule without an example");
}

#[test]
fn what_only_looks_like_a_secret_is_left_alone() {
    for text in negatives() {
        assert_eq!(found(&text), Vec::<String>::new(), "{text}");
    }
}

#[test]
fn the_table_is_sound() {
    let ids: BTreeSet<&str> = RULES.iter().map(|rule| rule.id).collect();
    assert_eq!(ids.len(), RULES.len(), "an id twice");
    for (index, rule) in RULES.iter().enumerate() {
        assert!(pattern(index).is_some_and(|pattern| pattern.captures_len() >= 2), "{}", rule.id);
        assert!(
            rule.keywords.iter().all(|word| *word == word.to_ascii_lowercase() && word.len() >= 2),
            "{}",
            rule.id
        );
        assert!(rule.id.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-'), "{}", rule.id);
    }
}
