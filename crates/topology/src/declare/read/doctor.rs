//! `[doctor]`: what `doctor` is told.

use super::{Reader, Value};
use crate::declare::{Allowed, Doctor};
use crate::hazard::Code;
use toml::Spanned;
use toml::de::DeTable;

impl Reader<'_> {
    pub(super) fn doctor(&mut self, root: &DeTable<'_>) -> Option<Doctor> {
        let Some(value) = root.get("doctor") else {
            return Some(Doctor::default());
        };
        let table = self.table(value, "[doctor]")?;
        self.only(table, &["allow", "init", "tenant_columns"]);
        let allow = match table.get("allow") {
            None => Some(Vec::new()),
            Some(value) => self.allowances(value),
        };
        let init = self.text(table, "init");
        let tenant_columns = match table.get("tenant_columns") {
            None => Some(Vec::new()),
            Some(value) => self.texts(value, "a list of columns, as in [\"tenant_id\"]"),
        };
        Some(Doctor {
            allow: allow?,
            init: init?,
            tenant_columns: tenant_columns?,
        })
    }

    fn allowances(&mut self, value: &Value<'_>) -> Option<Vec<Allowed>> {
        const EXPECTED: &str =
            "a list of tables, as in [{ code = \"PW202\", reason = \"why it is none here\" }]";
        let Some(items) = value.get_ref().as_array() else {
            self.mistake(value.span(), super::value::shown(value.get_ref()), EXPECTED);
            return None;
        };
        let read: Vec<_> = items.iter().map(|item| self.allowance(item)).collect();
        read.into_iter().collect()
    }

    fn allowance(&mut self, value: &Value<'_>) -> Option<Allowed> {
        let table = self.table(value, "{ code = …, reason = … }")?;
        self.only(table, &["code", "reason", "path"]);
        let code = match table.get("code") {
            None => {
                self.mistake(
                    value.span(),
                    "an allowance without a code",
                    "code = \"PW202\": what `doctor` printed",
                );
                None
            }
            Some(code) => self.parsed(
                code,
                "a code that `doctor` prints, as in \"PW201\" (docs/doctor.md has them all)",
                Code::parse,
            ),
        };
        let reason = self.reason(value, table);
        let path = self.text(table, "path");
        Some(Allowed {
            code: code?,
            reason: reason?,
            path: path?,
        })
    }

    /// Without one, nobody knows later whether it still holds.
    fn reason(&mut self, allowance: &Value<'_>, table: &DeTable<'_>) -> Option<String> {
        const EXPECTED: &str = "reason = \"why it is none here\", for whoever reads this next";
        let Some(value) = table.get("reason") else {
            let code = table.get("code").map(Spanned::get_ref);
            let code = code.and_then(|code| code.as_str()).unwrap_or("a hazard");
            let found = format!("{code} allowed without a reason");
            self.mistake(allowance.span(), found, EXPECTED);
            return None;
        };
        self.parsed(value, EXPECTED, |text| {
            let text = text.trim();
            (!text.is_empty()).then(|| text.to_owned())
        })
    }
}
