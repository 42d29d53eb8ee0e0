/** The header `retry-after`, in words of its own beside a status: ", retry after 17 s"; empty where it is missing. */
export const describeRetryAfter = (header: string | null): string =>
  header === null ? "" : `, retry after ${/^\d{1,9}$/.test(header.trim()) ? `${header.trim()} s` : header.slice(0, 40)}`;
