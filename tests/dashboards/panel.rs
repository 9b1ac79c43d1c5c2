//! One panel of a board: said in a line or two, written out as Grafana wants it.
//!
//! In an expression `$here` stands for the chosen instances and `$rate` for the interval Grafana works out. Must not know
//! any metric.

use serde_json::{Map, Value, json};

use super::runbook;

/// Says that a value is bad.
#[derive(Clone, Copy, Debug)]
enum Bad {
    From(f64),
    Below(f64),
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    Stat,
    Lines {
        stacked: bool,
    },
    /// Words in place of numbers, over time.
    Words(&'static [(&'static str, &'static str, &'static str)]),
    /// Labels in columns, by their heading.
    Table(&'static [(&'static str, &'static str)]),
    Text,
}

/// A panel.
#[derive(Clone, Debug)]
pub struct Panel {
    kind: Kind,
    title: String,
    says: String,
    unit: &'static str,
    queries: Vec<(String, String)>,
    markdown: String,
    bad: Option<Bad>,
    runbook: Option<&'static str>,
    pub width: u32,
    pub height: u32,
}

impl Panel {
    fn new(kind: Kind, title: &str, says: &str, unit: &'static str, queries: &[(&str, &str)]) -> Self {
        let written =
            |text: &str| text.replace("$here", r#"instance=~"$instance""#).replace("$rate", "$__rate_interval");
        let queries = queries.iter().map(|(expression, legend)| (written(expression), (*legend).to_owned())).collect();
        let (title, says) = (title.to_owned(), says.to_owned());
        Self {
            kind,
            title,
            says,
            unit,
            queries,
            markdown: String::new(),
            bad: None,
            runbook: None,
            width: 8,
            height: 8,
        }
    }

    /// One number, as it is now.
    pub fn stat(title: &str, says: &str, unit: &'static str, expression: &str) -> Self {
        Self { width: 4, height: 4, ..Self::new(Kind::Stat, title, says, unit, &[(expression, "")]) }
    }

    /// Lines over time, each query with its legend.
    pub fn lines(title: &str, says: &str, unit: &'static str, queries: &[(&str, &str)]) -> Self {
        Self::new(Kind::Lines { stacked: false }, title, says, unit, queries)
    }

    /// Lines that add up.
    pub fn areas(title: &str, says: &str, unit: &'static str, queries: &[(&str, &str)]) -> Self {
        Self::new(Kind::Lines { stacked: true }, title, says, unit, queries)
    }

    /// A state over time: value, word, colour.
    pub fn words(
        title: &str,
        says: &str,
        queries: &[(&str, &str)],
        words: &'static [(&'static str, &'static str, &'static str)],
    ) -> Self {
        Self::new(Kind::Words(words), title, says, "none", queries)
    }

    /// A row per series, as they are now, with these labels as columns, by their headings; `Value` is the value.
    pub fn table(
        title: &str,
        says: &str,
        unit: &'static str,
        expression: &str,
        columns: &'static [(&'static str, &'static str)],
    ) -> Self {
        Self::new(Kind::Table(columns), title, says, unit, &[(expression, "")])
    }

    /// Text in Markdown.
    pub fn text(title: &str, says: &str, markdown: &str) -> Self {
        let panel = Self::new(Kind::Text, title, says, "none", &[]);
        Self { markdown: markdown.to_owned(), width: 12, height: 11, ..panel }
    }

    pub fn wide(self, width: u32) -> Self {
        Self { width, ..self }
    }

    /// Red from this value on.
    pub fn red_from(self, value: f64) -> Self {
        Self { bad: Some(Bad::From(value)), ..self }
    }

    /// Red below this value.
    pub fn red_below(self, value: f64) -> Self {
        Self { bad: Some(Bad::Below(value)), ..self }
    }

    /// What to do about it, by the name of the alert.
    pub fn runbook(self, alert: &'static str) -> Self {
        Self { runbook: Some(alert), ..self }
    }

    /// Whether it needs no data.
    pub fn is_text(&self) -> bool {
        matches!(self.kind, Kind::Text)
    }

    /// As Grafana reads it.
    pub fn json(&self, id: usize, x: u32, y: u32) -> Value {
        let mut panel = json!({
            "id": id,
            "type": self.kind_name(),
            "title": self.title,
            "description": self.says,
            "gridPos": { "h": self.height, "w": self.width, "x": x, "y": y },
            "links": self.links(),
        });
        if let Kind::Text = self.kind {
            panel["options"] = json!({ "mode": "markdown", "content": self.markdown });
            return panel;
        }
        panel["datasource"] = datasource();
        panel["targets"] = self.targets();
        panel["fieldConfig"] = json!({ "defaults": self.defaults(), "overrides": self.overrides() });
        panel["options"] = self.options();
        if let Kind::Table(columns) = self.kind {
            panel["transformations"] = arranged(columns);
        }
        panel
    }

    fn kind_name(&self) -> &'static str {
        match self.kind {
            Kind::Stat => "stat",
            Kind::Lines { .. } => "timeseries",
            Kind::Words(_) => "state-timeline",
            Kind::Table(_) => "table",
            Kind::Text => "text",
        }
    }

    fn links(&self) -> Value {
        let link = |alert: &str| {
            json!({
                "type": "link",
                "title": format!("Runbook: {alert}"),
                "url": runbook::path(alert),
                "tags": [],
                "asDropdown": false,
                "includeVars": false,
                "keepTime": false,
                "targetBlank": true,
                "icon": "doc",
                "tooltip": "What to do about it",
            })
        };
        self.runbook.map(link).into_iter().collect()
    }

    fn targets(&self) -> Value {
        let now = matches!(self.kind, Kind::Stat | Kind::Table(_));
        let target = |(at, (expression, legend)): (usize, &(String, String))| {
            let mut target = json!({
                "refId": char::from(b'A' + u8::try_from(at).unwrap()).to_string(),
                "datasource": datasource(),
                "editorMode": "code",
                "expr": expression,
                "legendFormat": legend,
                "range": !now,
                "instant": now,
            });
            if let Kind::Table(_) = self.kind {
                target["format"] = "table".into();
            }
            target
        };
        self.queries.iter().enumerate().map(target).collect()
    }

    fn defaults(&self) -> Value {
        let calm = if matches!(self.kind, Kind::Stat) { "text" } else { "green" };
        let steps = match self.bad {
            None => json!([{ "color": calm, "value": null }]),
            Some(Bad::From(from)) => json!([{ "color": calm, "value": null }, { "color": "red", "value": from }]),
            Some(Bad::Below(below)) => json!([{ "color": "red", "value": null }, { "color": calm, "value": below }]),
        };
        let mut defaults = json!({ "unit": self.unit, "thresholds": { "mode": "absolute", "steps": steps } });
        match self.kind {
            Kind::Stat => defaults["noValue"] = "–".into(),
            Kind::Lines { stacked } => {
                defaults["color"] = json!({ "mode": "palette-classic" });
                defaults["custom"] = json!({
                    "axisSoftMin": 0,
                    "drawStyle": "line",
                    "lineWidth": 1,
                    "fillOpacity": if stacked { 40 } else { 8 },
                    "showPoints": "never",
                    "spanNulls": false,
                    "stacking": { "mode": if stacked { "normal" } else { "none" }, "group": "A" },
                    "thresholdsStyle": { "mode": if self.bad.is_some() { "dashed" } else { "off" } },
                });
            }
            Kind::Words(words) => {
                let word = |(value, word, color): &(&str, &str, &str)| {
                    ((*value).to_owned(), json!({ "text": word, "color": color }))
                };
                let options: Map<_, _> = words.iter().map(word).collect();
                defaults["mappings"] = json!([{ "type": "value", "options": options }]);
                defaults["custom"] = json!({ "fillOpacity": 70, "lineWidth": 0, "spanNulls": false });
            }
            Kind::Table(_) | Kind::Text => {}
        }
        defaults
    }

    /// A name in a table leads to its board.
    fn overrides(&self) -> Value {
        let Kind::Table(columns) = self.kind else { return json!([]) };
        let board = |heading: &str| match heading {
            "Account" => Some("account"),
            "Sink" => Some("sinks"),
            _ => None,
        };
        let linked = columns.iter().filter_map(|(label, heading)| Some((label, heading, board(heading)?)));
        linked
            .map(|(label, heading, board)| {
                let url = format!(
                    "/d/onsip-router-{board}?${{datasource:queryparam}}&${{instance:queryparam}}\
                     &var-{label}=${{__value.text}}&${{__url_time_range}}"
                );
                json!({
                    "matcher": { "id": "byName", "options": heading },
                    "properties": [{ "id": "links", "value": [{ "title": format!("Look at ${{__value.text}}"), "url": url }] }],
                })
            })
            .collect()
    }

    fn options(&self) -> Value {
        match self.kind {
            Kind::Stat => json!({
                "colorMode": "value",
                "graphMode": "none",
                "justifyMode": "auto",
                "textMode": "value",
                "reduceOptions": { "calcs": ["lastNotNull"], "fields": "", "values": false },
            }),
            Kind::Lines { .. } => json!({
                "legend": { "displayMode": "list", "placement": "bottom", "showLegend": true, "calcs": [] },
                "tooltip": { "mode": "multi", "sort": "desc" },
            }),
            Kind::Words(_) => json!({
                "mergeValues": true,
                "showValue": "auto",
                "rowHeight": 0.8,
                "legend": { "displayMode": "list", "placement": "bottom", "showLegend": false, "calcs": [] },
                "tooltip": { "mode": "single", "sort": "none" },
            }),
            Kind::Table(_) => json!({ "showHeader": true, "cellHeight": "sm" }),
            Kind::Text => json!({}),
        }
    }
}

/// Whichever Prometheus is chosen.
pub fn datasource() -> Value {
    json!({ "type": "prometheus", "uid": "${datasource}" })
}

/// Only the wanted columns, in their order, under their headings.
fn arranged(columns: &[(&str, &str)]) -> Value {
    let labels: Vec<_> = columns.iter().map(|(label, _)| *label).collect();
    let headings: Map<_, _> = columns.iter().map(|(label, heading)| ((*label).to_owned(), (*heading).into())).collect();
    let order: Map<_, _> = labels.iter().enumerate().map(|(at, label)| ((*label).to_owned(), at.into())).collect();
    json!([
        { "id": "filterFieldsByName", "options": { "include": { "names": labels } } },
        { "id": "organize", "options": { "renameByName": headings, "indexByName": order } },
    ])
}
