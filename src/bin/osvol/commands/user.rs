//! `osvol user`.

use api::{Collection, PasswordChange, Role, User, UserSpec};

use crate::client::Client;
use crate::failure::Failure;
use crate::output::Output;
use crate::password;
use crate::table::{Column, Table};
use crate::user_args::{PasswordFrom, UserCommand};

pub(crate) fn run(command: &UserCommand, client: &Client, output: &Output) -> Result<(), Failure> {
    match command {
        UserCommand::Add { name, roles, full_name, disabled, password } => {
            let spec = UserSpec {
                user_name: name.clone(),
                password: Some(password::new(*password, name)?),
                full_name: Some(full_name.clone()),
                description: None,
                roles: Some(roles.clone()),
                permissions: None,
                enabled: Some(!disabled),
                e_tag: None,
            };
            told(output, &client.post::<User>(api::USERS, &spec)?.json, &format!("user {name} added"))
        }
        UserCommand::List => list(client, output),
        UserCommand::Passwd { name, password } => set_password(client, output, name, *password),
        UserCommand::Set { name, roles, full_name, enable, disable } => {
            let enabled = (enable | disable).then_some(*enable);
            set(client, output, name, (roles, full_name.as_deref(), enabled))
        }
        UserCommand::Remove { name } => {
            client.delete(&path(name)?)?;
            if output.json { Ok(()) } else { output.text(&format!("user {name} removed")) }
        }
    }
}

fn told(output: &Output, json: &str, words: &str) -> Result<(), Failure> {
    output.text(if output.json { json } else { words })
}

/// Path of a user. What could not be a name never gets into it.
fn path(name: &str) -> Result<String, Failure> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-' | '@');
    match !name.is_empty() && name.chars().all(allowed) && name.chars().any(|c| c != '.') {
        true => Ok(format!("{}/{name}", api::USERS)),
        false => Err(Failure::BadName(name.to_owned())),
    }
}

fn list(client: &Client, output: &Output) -> Result<(), Failure> {
    let answer = client.get::<Collection<User>>(&format!("{}?start=0&count=-1", api::USERS))?;
    if output.json {
        return output.text(&answer.json);
    }
    let mut table = Table::new(&[
        Column::Left("USER"),
        Column::Left("ROLES"),
        Column::Left("LOGIN"),
        Column::Left("NAME"),
    ]);
    for user in answer.value.members {
        let roles: Vec<_> = user.roles.iter().map(|role| role.name()).collect();
        let login = if user.enabled { "yes" } else { "no" };
        table.row(vec![user.user_name, roles.join(", "), login.to_owned(), user.full_name]);
    }
    output.table(&table)
}

fn set_password(client: &Client, output: &Output, name: &str, from: PasswordFrom) -> Result<(), Failure> {
    let path = format!("{}/password", path(name)?);
    let change = PasswordChange { password: password::new(from, name)?, current_password: None };
    client.put_quietly(&path, &change)?;
    if output.json { Ok(()) } else { output.text(&format!("password of {name} changed")) }
}

fn set(
    client: &Client,
    output: &Output,
    name: &str,
    (roles, full_name, enabled): (&[Role], Option<&str>, Option<bool>),
) -> Result<(), Failure> {
    let path = path(name)?;
    let user = client.get::<User>(&path)?.value;
    let spec = UserSpec {
        user_name: user.user_name,
        password: None,
        full_name: Some(full_name.map_or(user.full_name, str::to_owned)),
        description: Some(user.description),
        roles: Some(if roles.is_empty() { user.roles } else { roles.to_vec() }),
        permissions: None,
        enabled: Some(enabled.unwrap_or(user.enabled)),
        e_tag: Some(user.e_tag),
    };
    let json = client.put_quietly(&path, &spec)?;
    told(output, &json, &format!("user {name} changed"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_could_not_be_a_user_never_gets_into_a_path() {
        assert_eq!(path("a.dmin@example").unwrap(), "/rest/users/a.dmin@example");
        for bad in ["", "..", "a/b", "a b", "a?b", "ä", "a%2fb"] {
            assert!(path(bad).is_err(), "{bad:?}");
        }
    }
}
