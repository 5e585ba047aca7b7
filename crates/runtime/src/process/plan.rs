//! What exactly is started: a recipe and an image, made definite. Pure.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use http::uri::PathAndQuery;

use super::recipe::ProcessRecipe;
use super::uri;
use crate::contract::{Address, Paths};

/// A recipe that was found to be sound.
#[derive(Debug, Clone)]
pub(super) struct Plan {
    /// At least the program.
    pub(super) command: Vec<String>,
    pub(super) paths: Paths,
    /// It listens on a Unix socket.
    pub(super) socket: bool,
    pub(super) recipe: ProcessRecipe,
}

/// What placeholders stand for in one start.
pub(super) struct Places {
    pub(super) address: Address,
    /// The first and the last port that are the program's own beside the one it listens on.
    pub(super) safe_ports: Option<(u16, u16)>,
    /// `/opt/ml`, as the program sees it.
    pub(super) base_dir: PathBuf,
    pub(super) home: PathBuf,
    pub(super) hosts_models: bool,
}

impl Plan {
    /// Says how `image` is run, or why it cannot be.
    pub(super) fn new(recipe: &ProcessRecipe, image: &str) -> Result<Self, String> {
        let recipe = match &recipe.command {
            Some(_) => recipe.clone(),
            None => uri::parse(image, recipe)
                .map_err(|error| format!("The image {image} names no program: {error}."))?,
        };
        let command = recipe.command.clone().unwrap_or_default();
        let Some(program) = command.first().filter(|program| !program.is_empty()) else {
            return Err(format!("The command of the image {image} is empty."));
        };
        if command.iter().any(|part| part.contains('\0')) {
            return Err(format!("The command of the image {image} has a NUL in it."));
        }
        let relative = program.contains('/') && !program.starts_with(['/', '{']);
        if relative && recipe.directory.is_none() {
            return Err(format!(
                "The program {program} is a relative path, and its image names no directory."
            ));
        }
        let route = |path: &str| {
            let parsed = path.parse::<PathAndQuery>().ok().filter(|_| path.starts_with('/'));
            parsed.ok_or_else(|| format!("{path:?} is no path that a program can answer at."))
        };
        let paths = Paths { ping: route(&recipe.ping)?, invocations: route(&recipe.invocations)? };
        let mut templates = command.iter().chain(recipe.environment.values());
        let socket = templates.any(|text| text.contains("{socket}"));
        Ok(Self { command, paths, socket, recipe })
    }

    /// The program as it is found from outside, where its model's files are in `model`. A relative
    /// path is below the directory; a bare name is looked up on the `PATH`.
    pub(super) fn program(&self, model: Option<&Path>) -> PathBuf {
        let mut program = self.command.first().cloned().unwrap_or_default();
        if let Some(model) = model {
            program = program.replace("{model_dir}", &lossy(model));
        }
        match &self.recipe.directory {
            Some(directory) if program.contains('/') => directory.join(program),
            Some(_) | None => PathBuf::from(program),
        }
    }

    /// Its short name: `uvicorn`.
    pub(super) fn name(&self) -> &str {
        let program = self.command.first().map_or("", String::as_str);
        program.rsplit('/').next().unwrap_or(program)
    }
}

impl Places {
    pub(super) fn model_dir(&self) -> PathBuf {
        self.base_dir.join(if self.hosts_models { "models" } else { "model" })
    }

    /// Replaces the placeholders in `text`; other braces stay.
    pub(super) fn fill(&self, text: &str) -> String {
        let text = text.replace("{model_dir}", &lossy(&self.model_dir()));
        match &self.address {
            Address::Port(port) => text.replace("{port}", &port.to_string()),
            Address::Socket(path) => text.replace("{socket}", &lossy(path)),
        }
    }

    /// All of the program's environment. What the contract says goes on top: the program must
    /// not be told another port than the one it is called at.
    pub(super) fn environment(
        &self,
        recipe: &BTreeMap<String, String>,
        model: &BTreeMap<String, String>,
    ) -> BTreeMap<String, String> {
        let home = lossy(&self.home);
        let mut all = BTreeMap::new();
        let mut set = |name: &str, value: String| all.insert(name.to_owned(), value);
        set("LANG", "C.UTF-8".to_owned());
        set("TMPDIR", lossy(&self.home.join("tmp")));
        set("HOME", home);
        for (name, value) in recipe {
            set(name, self.fill(value));
        }
        for (name, value) in model {
            set(name, value.clone());
        }
        if let Address::Port(port) = &self.address {
            set("SAGEMAKER_BIND_TO_PORT", port.to_string());
        }
        if let Some((first, last)) = self.safe_ports {
            set("SAGEMAKER_SAFE_PORT_RANGE", format!("{first}-{last}"));
        }
        set("SAGEMAKER_BASE_DIR", lossy(&self.base_dir));
        set("SM_MODEL_DIR", lossy(&self.model_dir()));
        if self.hosts_models {
            set("SAGEMAKER_MULTI_MODEL", "true".to_owned());
        }
        all
    }
}

fn lossy(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn recipe(command: &[&str]) -> ProcessRecipe {
        let command = command.iter().map(|part| (*part).to_owned()).collect();
        ProcessRecipe { command: Some(command), ..ProcessRecipe::default() }
    }

    fn refused(recipe: &ProcessRecipe, why: &str) {
        assert_eq!(Plan::new(recipe, "app").unwrap_err(), why);
    }

    #[test]
    fn a_recipe_that_cannot_be_run_says_why() {
        refused(&recipe(&[]), "The command of the image app is empty.");
        refused(&recipe(&["a\0"]), "The command of the image app has a NUL in it.");
        refused(
            &recipe(&["./run"]),
            "The program ./run is a relative path, and its image names no directory.",
        );
        let at = ProcessRecipe { ping: "health".to_owned(), ..recipe(&["run"]) };
        refused(&at, "\"health\" is no path that a program can answer at.");
        refused(
            &ProcessRecipe::default(),
            "The image app names no program: it does not start with process://.",
        );
    }

    #[test]
    fn where_a_program_is() {
        let check = |program: &str, directory: Option<&str>, want: &str| {
            let directory = directory.map(PathBuf::from);
            let plan = Plan::new(&ProcessRecipe { directory, ..recipe(&[program]) }, "app");
            let found = plan.unwrap().program(Some(Path::new("/cache/m")));
            assert_eq!(found, PathBuf::from(want), "{program}");
        };
        check("/opt/run", Some("/srv"), "/opt/run");
        check("./run", Some("/srv"), "/srv/./run");
        check("python3", Some("/srv"), "python3");
        check("{model_dir}/run", None, "/cache/m/run");
    }

    #[test]
    fn the_contract_goes_over_the_model_and_the_model_over_the_recipe() {
        let places = Places {
            address: Address::Port(20_000),
            safe_ports: Some((20_001, 20_015)),
            base_dir: "/opt/ml".into(),
            home: "/run/x".into(),
            hosts_models: false,
        };
        let map = |pairs: &[(&str, &str)]| {
            let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
            pairs.iter().map(owned).collect::<BTreeMap<_, _>>()
        };
        let found = places.environment(
            &map(&[("A", "recipe"), ("B", "{port} {model_dir} {other}"), ("LANG", "de")]),
            &map(&[("A", "{port}"), ("SAGEMAKER_BIND_TO_PORT", "1")]),
        );
        let want = map(&[
            ("A", "{port}"),
            ("B", "20000 /opt/ml/model {other}"),
            ("HOME", "/run/x"),
            ("LANG", "de"),
            ("SAGEMAKER_BASE_DIR", "/opt/ml"),
            ("SAGEMAKER_BIND_TO_PORT", "20000"),
            ("SAGEMAKER_SAFE_PORT_RANGE", "20001-20015"),
            ("SM_MODEL_DIR", "/opt/ml/model"),
            ("TMPDIR", "/run/x/tmp"),
        ]);
        assert_eq!(found, want);
    }
}
