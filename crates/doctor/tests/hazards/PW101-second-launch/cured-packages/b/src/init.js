const { DBOS } = require('@dbos-inc/dbos-sdk');
let launching;
exports.start = () => (launching ??= DBOS.launch());
