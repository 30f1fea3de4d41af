// The environment in which AWS clients of later steps find our profile and nothing else.
'use strict';

const fs = require('node:fs');
const path = require('node:path');

const { isOurs, privateDirectory } = require('./runner.js');

/**
 * Ways by which an AWS client finds another identity than the profile's. A step cannot take a variable out of the
 * environment of later ones, it can only empty it; clients pass over an empty one.
 */
const AMBIENT = [
  'AWS_ACCESS_KEY_ID',
  'AWS_SECRET_ACCESS_KEY',
  'AWS_SESSION_TOKEN',
  'AWS_SECURITY_TOKEN',
  'AWS_CREDENTIAL_EXPIRATION',
  'AWS_ROLE_ARN',
  'AWS_ROLE_SESSION_NAME',
  'AWS_WEB_IDENTITY_TOKEN_FILE',
  'AWS_CONTAINER_CREDENTIALS_FULL_URI',
  'AWS_CONTAINER_CREDENTIALS_RELATIVE_URI',
  'AWS_CONTAINER_AUTHORIZATION_TOKEN',
  'AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE',
];

/** The configuration of an earlier use of this action in the same job. */
function earlier(env) {
  const file = env.AWS_CONFIG_FILE;
  if (!file || path.basename(file) !== 'config' || !isOurs(path.dirname(file), env)) return '';
  return fs.existsSync(file) ? fs.readFileSync(file, 'utf8') : '';
}

/** A profile's name for `resource` that does not stand in `before` yet. */
function freshName(resource, before) {
  for (let number = 1; ; number += 1) {
    const name = number === 1 ? `grantd-${resource}` : `grantd-${resource}-${number}`;
    if (!before.includes(`[profile ${name}]\n`)) return name;
  }
}

/** Writes the configuration files; `section` makes the text of the profile from its name. */
function configure(env, resource, section) {
  const before = earlier(env);
  const name = freshName(resource, before);
  const text = before + section(name);
  const directory = privateDirectory(env);
  const [config, credentials] = ['config', 'credentials'].map((file) => path.join(directory, file));
  fs.writeFileSync(config, text, { mode: 0o600, flag: 'wx' });
  fs.writeFileSync(credentials, '', { mode: 0o600, flag: 'wx' });
  return { name, directory, config, credentials };
}

/** What later steps get. */
function environment(env, { name, config, credentials }) {
  const values = {
    AWS_CONFIG_FILE: config,
    AWS_SHARED_CREDENTIALS_FILE: credentials,
    AWS_PROFILE: name,
    AWS_EC2_METADATA_DISABLED: 'true',
  };
  // Some clients ask this one first.
  if (env.AWS_DEFAULT_PROFILE !== undefined) values.AWS_DEFAULT_PROFILE = name;
  for (const variable of AMBIENT) if (env[variable]) values[variable] = '';
  return values;
}

module.exports = { AMBIENT, configure, environment, freshName };
