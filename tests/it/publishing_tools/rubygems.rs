//! `gem push` with a key of the front door `rubygems`, which `configure-rubygems-credentials` asks for.

use std::path::Path;

use carnet_stand_ins::Protocol;

use super::replays::Replayed;
use super::{Site, write};
use crate::support::{Finished, Tool, may_skip};

const GEM: &str = "/usr/bin/gem";

pub(crate) fn has_gem() -> bool {
    Path::new(GEM).is_file() || !may_skip("gem, of Debian's package ruby")
}

impl Site {
    /// The call of the action, with a new token.
    pub(crate) fn asks_for_a_gem_key(&self) -> Replayed {
        self.sends_for_a_gem_key(&self.runner.token(&self.host))
    }

    pub(crate) fn sends_for_a_gem_key(&self, jwt: &str) -> Replayed {
        self.replay("configure-rubygems-credentials", &[("jwt", jwt)])
    }

    pub(crate) fn gem_key(&self) -> String {
        let answer = self.asks_for_a_gem_key();
        answer.says(201, &["rubygems_api_key"]);
        let body = answer.json();
        // The action refuses an answer without these.
        for member in ["name", "expires_at"] {
            assert!(body[member].is_string(), "{body:#}");
        }
        assert!(body["scopes"].is_array(), "{body:#}");
        body["rubygems_api_key"].as_str().unwrap().to_owned()
    }

    fn gem(&self) -> Tool {
        self.tool(GEM)
            .variables([("GEM_HOME", self.path("gem-home"))])
    }

    pub(crate) fn gem_push(&self, key: &str, name: &str, version: &str) -> Finished {
        let folder = self.folder(&format!("{name}-{version}"));
        let specification = format!(
            "Gem::Specification.new do |spec|\n  spec.name = \"{name}\"\n  spec.version = \"{version}\"\n  \
             spec.summary = \"A gem of a test\"\n  spec.authors = [\"octo\"]\n  spec.files = [\"lib/{name}.rb\"]\nend\n"
        );
        write(&folder, "it.gemspec", specification);
        write(
            &folder,
            &format!("lib/{name}.rb"),
            format!("puts \"{version}\"\n"),
        );
        let build = self.gem().in_folder(&folder);
        build.arguments(["build", "it.gemspec"]).run().succeeded();
        let file = format!("{name}-{version}.gem");
        let push = self.gem().in_folder(&folder);
        push.variables([("GEM_HOST_API_KEY", key)])
            .arguments(["push", "--host", self.url.trim_end_matches('/'), &file])
            .run()
    }

    /// Installs a gem from the registry and loads it.
    pub(crate) fn gem_installs(&self, name: &str, version: &str) {
        let install = ["install", name, "--version", version, "--no-document"];
        self.gem()
            .arguments(install)
            .arguments(["--clear-sources", "--source", &self.url])
            .run()
            .succeeded();
        let ruby = self.tool("/usr/bin/ruby");
        let run = ruby
            .variables([("GEM_HOME", self.path("gem-home"))])
            .arguments(["-e", &format!("require '{name}'")])
            .run();
        assert_eq!(run.succeeded().stdout, format!("{version}\n"));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn gem_pushes_with_a_key_of_the_action_and_the_gem_installs() {
    if !has_gem() {
        return;
    }
    let site = Site::new(Protocol::Rubygems).await;
    let key = site.gem_key();
    site.gem_push(&key, "widgets", "1.0.0").succeeded();
    site.gem_installs("widgets", "1.0.0");
    let other = site.gem_push(&key, "gadgets", "1.0.0");
    site.fails_as_shown("tools-gem", "other package", &other);

    site.rule("fresh", &["fresh"], false).await;
    let refused = site.gem_push(&site.gem_key(), "fresh", "1.0.0");
    site.fails_as_shown("tools-gem", "first version", &refused);
    site.gem_push(&site.named_token(), "fresh", "1.0.0")
        .succeeded();
    site.gem_push(&site.gem_key(), "fresh", "1.1.0").succeeded();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_action_for_gems_is_told_why_it_was_refused() {
    let site = Site::new(Protocol::Rubygems).await;
    let jwt = site.runner.token(&site.host);
    site.sends_for_a_gem_key(&jwt)
        .says(201, &["rubygems_api_key"]);
    let again = site.sends_for_a_gem_key(&jwt);
    // For 404 the action has words of its own.
    again.says(404, &["replay", "ev_"]);
    site.wrong_workflow();
    let wrong = site.asks_for_a_gem_key();
    wrong.says(404, &[]);
    let text = wrong.json()["error"].as_str().unwrap().to_owned();
    site.prints_as_shown("tools-gem", "wrong workflow", &text);
}
