//! `sagebrush logs`.

use std::time::Duration;

use serde_json::{Value, json};

use super::output;
use crate::cli::LogsArgs;
use crate::client::Client;
use crate::config::Config;
use crate::failure::Failure;

/// How often `--follow` asks for more.
const POLL: Duration = Duration::from_millis(500);

pub(crate) async fn run(config: &Config, args: &LogsArgs) -> Result<(), Failure> {
    let client = Client::new(config);
    let mut printed = Printed::default();
    loop {
        for event in events(&client, &args.name, printed.up_to).await? {
            if printed.is_new(&event) {
                print(&event, args.json.on)?;
            }
        }
        if !args.follow {
            return Ok(());
        }
        tokio::time::sleep(POLL).await;
    }
}

/// What was printed: the newest time, and the events of that time.
#[derive(Default)]
struct Printed {
    up_to: i64,
    then: Vec<String>,
}

impl Printed {
    fn is_new(&mut self, event: &Value) -> bool {
        let time = event["timestamp"].as_i64().unwrap_or_default();
        let id = event["eventId"].as_str().unwrap_or_default().to_owned();
        if time < self.up_to || self.then.contains(&id) {
            return false;
        }
        if time > self.up_to {
            self.up_to = time;
            self.then.clear();
        }
        self.then.push(id);
        true
    }
}

/// All pages of `FilterLogEvents` from `start` on.
async fn events(client: &Client<'_>, name: &str, start: i64) -> Result<Vec<Value>, Failure> {
    let group = match name.strip_prefix('/') {
        Some(_) => name.to_owned(),
        None => format!("/aws/sagemaker/Endpoints/{name}"),
    };
    let mut request = json!({"logGroupName": group, "startTime": start});
    let mut events = Vec::new();
    loop {
        let mut page = client.logs("FilterLogEvents", &request).await?;
        if let Value::Array(more) = page["events"].take() {
            events.extend(more);
        }
        match page["nextToken"].as_str() {
            Some(token) => request["nextToken"] = token.into(),
            None => return Ok(events),
        }
    }
}

fn print(event: &Value, as_json: bool) -> Result<(), Failure> {
    if as_json {
        return output::line(&event.to_string()); // One event a line.
    }
    #[expect(clippy::cast_precision_loss, reason = "exact for the next 285,000 years")]
    let seconds = event["timestamp"].as_i64().map(|millis| millis as f64 / 1000.0);
    let text = |name: &str| event[name].as_str().unwrap_or_default();
    output::line(&format!(
        "{} {} {}",
        output::time(seconds),
        text("logStreamName"),
        text("message")
    ))
}
