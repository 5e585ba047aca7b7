//! The resources that a call is about, as far as its input tells.

use serde_json::Value;

use crate::Context;

/// ARNs; `*` where there is none. Never empty.
pub(super) fn of(service: &str, operation: &str, context: &Context, input: &Value) -> Vec<String> {
    let found = match service {
        "sagemaker" => sagemaker(operation, context, input),
        "logs" => logs(context, input),
        "sns" => sns(context, input),
        "sqs" => sqs(context, input),
        "monitoring" => cloudwatch(context, input),
        "events" => events(context, input),
        "iam" => iam(operation, context, input),
        "sts" => texts(input, &["RoleArn"]).map(str::to_owned).collect(),
        _ => Vec::new(),
    };
    if found.is_empty() { vec!["*".to_owned()] } else { found.into_iter().map(usual).collect() }
}

/// Some of our ARNs are read whatever their partition is; policies name `aws`.
fn usual(arn: String) -> String {
    match arn.strip_prefix("arn:").and_then(|rest| rest.split_once(':')) {
        Some((partition, rest)) if partition != "aws" => format!("arn:aws:{rest}"),
        Some(_) | None => arn,
    }
}

/// The roles that a service is to act in. A model without one would be limited by none, so it
/// asks for any.
pub(super) fn passed_roles<'v>(service: &str, operation: &str, input: &'v Value) -> Vec<&'v str> {
    if service == "sts" {
        return Vec::new();
    }
    let found: Vec<&str> = texts(input, &["ExecutionRoleArn", "RoleArn", "RoleARN"]).collect();
    let is_model = (service, operation) == ("sagemaker", "CreateModel");
    if found.is_empty() && is_model { vec!["*"] } else { found }
}

/// `DescribeTransformJob` is about `TransformJobName`, a `transform-job`. An endpoint is made by
/// a configuration, which one must be allowed too.
fn sagemaker(operation: &str, context: &Context, input: &Value) -> Vec<String> {
    let arn = |kind: &str, name: &str| {
        let resource = format!("{kind}/{}", name.to_ascii_lowercase());
        regional("sagemaker", context, &resource)
    };
    let mut found: Vec<String> = texts(input, &["ResourceArn"]).map(str::to_owned).collect();
    let noun = operation.trim_start_matches(|c: char| c.is_ascii_uppercase());
    let noun = noun.trim_start_matches(|c: char| c.is_ascii_lowercase());
    let noun = noun.strip_suffix("WeightsAndCapacities").unwrap_or(noun);
    if let Some(name) = text(input, &format!("{noun}Name")) {
        found.push(arn(&kebab(noun), name));
    }
    if noun == "InferenceExperiment" {
        found.extend(text(input, "Name").map(|name| arn(&kebab(noun), name)));
    }
    if noun == "Endpoint" {
        let config = text(input, "EndpointConfigName");
        found.extend(config.map(|name| arn("endpoint-config", name)));
    }
    found
}

/// `TransformJob` is `transform-job` in ARNs.
fn kebab(noun: &str) -> String {
    let mut kebab = String::new();
    for character in noun.chars() {
        if character.is_ascii_uppercase() && !kebab.is_empty() {
            kebab.push('-');
        }
        kebab.push(character.to_ascii_lowercase());
    }
    kebab
}

/// Of groups: a stream without a name.
fn logs(context: &Context, input: &Value) -> Vec<String> {
    let stream = text(input, "logStreamName").unwrap_or_default();
    let names = texts(
        input,
        &[
            "logGroupName",
            "logGroupNames",
            "logGroupIdentifier",
            "logGroupIdentifiers",
            "resourceArn",
        ],
    );
    let mut found: Vec<String> = names.map(|name| log_group(context, name, stream)).collect();
    if found.is_empty() {
        found.push(log_group(context, "", ""));
    }
    found
}

fn log_group(context: &Context, name: &str, stream: &str) -> String {
    let of_arn = name.split_once(":log-group:").map(|(_, name)| name.trim_end_matches(":*"));
    let name = of_arn.unwrap_or(name);
    regional("logs", context, &format!("log-group:{name}:log-stream:{stream}"))
}

/// A subscription is a part of its topic.
fn sns(context: &Context, input: &Value) -> Vec<String> {
    let arns = texts(input, &["TopicArn", "TargetArn", "ResourceArn"]).map(str::to_owned);
    let of_subscription = texts(input, &["SubscriptionArn"]);
    let topics = of_subscription.map(|arn| arn.rsplit_once(':').map_or(arn, |(topic, _)| topic));
    let named = texts(input, &["Name"]).map(|name| regional("sns", context, name));
    arns.chain(topics.map(str::to_owned)).chain(named).collect()
}

fn sqs(context: &Context, input: &Value) -> Vec<String> {
    let urls = texts(input, &["QueueUrl"]);
    let names = urls.map(|url| url.rsplit('/').next().unwrap_or(url));
    let names = names.chain(texts(input, &["QueueName"]));
    names.map(|name| regional("sqs", context, name)).collect()
}

fn cloudwatch(context: &Context, input: &Value) -> Vec<String> {
    let alarms = texts(input, &["AlarmName", "AlarmNames"]);
    let alarms = alarms.map(|name| regional("cloudwatch", context, &format!("alarm:{name}")));
    let account = &context.account;
    let dashboards = texts(input, &["DashboardName", "DashboardNames"]);
    let dashboards =
        dashboards.map(|name| format!("arn:aws:cloudwatch::{account}:dashboard/{name}"));
    let arns = texts(input, &["ResourceARN"]).map(str::to_owned);
    alarms.chain(dashboards).chain(arns).collect()
}

fn events(context: &Context, input: &Value) -> Vec<String> {
    let rules = texts(input, &["Name", "Rule"]);
    rules.map(|name| regional("events", context, &format!("rule/{name}"))).collect()
}

/// Who is named; whoever names nobody means itself, for which the name stays empty. The paths
/// are known to those who know the users.
fn iam(operation: &str, context: &Context, input: &Value) -> Vec<String> {
    let account = &context.account;
    let path = text(input, "Path").unwrap_or("/");
    let arn = |kind: &str, name: &str| format!("arn:aws:iam::{account}:{kind}{path}{name}");
    if let Some(user) = text(input, "UserName") {
        return vec![arn("user", user)];
    }
    if let Some(role) = text(input, "RoleName") {
        return vec![arn("role", role)];
    }
    let others = ["PolicyArn", "PolicySourceArn"];
    let mut found: Vec<String> = texts(input, &others).map(str::to_owned).collect();
    found.extend(text(input, "PolicyName").map(|name| arn("policy", name)));
    let is_about_keys = operation.ends_with("AccessKey") || operation == "ListAccessKeys";
    if is_about_keys || operation == "GetUser" {
        found.push(arn("user", ""));
    }
    found
}

fn regional(service: &str, context: &Context, resource: &str) -> String {
    let Context { region, account, .. } = context;
    format!("arn:aws:{service}:{region}:{account}:{resource}")
}

fn text<'v>(input: &'v Value, member: &str) -> Option<&'v str> {
    input.get(member).and_then(Value::as_str)
}

/// The texts that these members have, one or a list each.
fn texts<'v>(input: &'v Value, members: &[&str]) -> impl Iterator<Item = &'v str> {
    let values: Vec<&Value> = members.iter().filter_map(|member| input.get(member)).collect();
    values.into_iter().flat_map(|value| {
        let many = value.as_array().map(Vec::as_slice).unwrap_or_default();
        value.as_str().into_iter().chain(many.iter().filter_map(Value::as_str))
    })
}
