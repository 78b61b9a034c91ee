const { DBOS } = require('@dbos-inc/dbos-sdk');
const { launch } = DBOS;
let launching;
exports.start = () => (launching ??= launch());
