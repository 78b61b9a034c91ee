export const executorId = `web-${process.env.PM2_INSTANCE_ID ?? 0}`;
