/**
 * The version that workflows belong to. Fixed, because DBOS would otherwise hash the sources and a
 * build that changed a colour could not take up what its predecessor left. Raise it when the steps of
 * a workflow change their order or meaning.
 */
export const APPLICATION_VERSION = 'order-desk-1';
