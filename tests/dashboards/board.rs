//! A board: rows of panels, laid out from left to right, with the variables and links that all boards share.
//!
//! Must not know any metric but the one that names the instances.

use serde_json::{Value, json};

use super::panel::{Panel, datasource};

/// A board.
pub struct Board {
    /// Last part of its uid, and the name of its file.
    pub name: &'static str,
    pub title: &'static str,
    pub says: &'static str,
    /// A label to choose values of besides the instance: its name, its heading, and whether several may be chosen.
    pub chosen: Option<(&'static str, &'static str, bool)>,
    /// Rows with their titles.
    pub rows: Vec<(&'static str, Vec<Panel>)>,
}

/// Grafana's grid.
const WIDTH: u32 = 24;
/// The oldest schema of Grafana 10; later ones bring it up to date as they load it.
const SCHEMA: u32 = 38;

impl Board {
    /// Where it is in Grafana.
    pub fn uid(&self) -> String {
        format!("onsip-router-{}", self.name)
    }

    /// As Grafana reads it.
    pub fn json(&self) -> Value {
        json!({
            "uid": self.uid(),
            "title": format!("onsip-router: {}", self.title),
            "description": self.says,
            "tags": ["onsip-router"],
            "schemaVersion": SCHEMA,
            "version": 1,
            "editable": true,
            "graphTooltip": 1,
            "refresh": "30s",
            "timezone": "",
            "time": { "from": "now-3h", "to": "now" },
            "annotations": { "list": [] },
            "links": [links()],
            "id": null,
            "templating": { "list": self.variables() },
            "panels": self.panels(),
        })
    }

    fn variables(&self) -> Value {
        if self.rows.iter().all(|(_, panels)| panels.iter().all(Panel::is_text)) {
            return json!([]);
        }
        let mut variables = vec![
            json!({
                "name": "datasource",
                "label": "Data source",
                "type": "datasource",
                "query": "prometheus",
                "hide": 0,
                "includeAll": false,
                "multi": false,
                "refresh": 1,
                "regex": "",
                "current": { "selected": false, "text": "default", "value": "default" },
            }),
            variable("instance", "Instance", "label_values(onsip_router_build_info, instance)", true),
        ];
        if let Some((label, heading, several)) = self.chosen {
            let metric = match label {
                "account" => "onsip_router_account_covered",
                _ => "onsip_router_sink_up",
            };
            let query = format!(r#"label_values({metric}{{instance=~"$instance"}}, {label})"#);
            variables.push(variable(label, heading, &query, several));
        }
        variables.into()
    }

    fn panels(&self) -> Value {
        let (mut panels, mut id, mut y) = (Vec::new(), 0, 0);
        for (title, row) in &self.rows {
            id += 1;
            panels.push(json!({
                "id": id,
                "type": "row",
                "title": title,
                "collapsed": false,
                "gridPos": { "h": 1, "w": WIDTH, "x": 0, "y": y },
                "panels": [],
            }));
            y += 1;
            let (mut x, mut height) = (0, 0);
            for panel in row {
                if x + panel.width > WIDTH {
                    (x, y, height) = (0, y + height, 0);
                }
                id += 1;
                panels.push(panel.json(id, x, y));
                (x, height) = (x + panel.width, height.max(panel.height));
            }
            y += height;
        }
        panels.into()
    }
}

/// To the other boards, with what is chosen here.
fn links() -> Value {
    json!({
        "type": "dashboards",
        "title": "onsip-router",
        "tags": ["onsip-router"],
        "asDropdown": false,
        "includeVars": true,
        "keepTime": true,
        "targetBlank": false,
        "icon": "external link",
        "tooltip": "",
        "url": "",
    })
}

/// Values of a label, to choose from.
fn variable(name: &str, heading: &str, query: &str, several: bool) -> Value {
    let mut variable = json!({
        "name": name,
        "label": heading,
        "type": "query",
        "datasource": datasource(),
        "definition": query,
        "query": { "query": query, "refId": name },
        "refresh": 2,
        "sort": 1,
        "hide": 0,
        "regex": "",
        "includeAll": several,
        "multi": several,
        "current": {},
    });
    if several {
        variable["allValue"] = ".*".into();
        variable["current"] = json!({ "selected": true, "text": ["All"], "value": ["$__all"] });
    }
    variable
}
