// Figures as people read them: three digits and a unit. What is not known is a dash.

const DASH = "–";
const known = (value) => value !== null && value !== undefined && Number.isFinite(value);

function digits(value) {
  const size = Math.abs(value);
  return value.toFixed(size < 9.995 ? 2 : size < 99.95 ? 1 : 0);
}

export function ms(value) {
  if (!known(value)) return DASH;
  if (value < 1) return `${digits(value * 1000)} µs`;
  if (value < 999.5) return `${digits(value)} ms`;
  if (value < 99_950) return `${digits(value / 1000)} s`;
  return `${Math.floor(value / 60_000)} min ${Math.floor((value % 60_000) / 1000)} s`;
}

export function joules(value) {
  if (!known(value)) return DASH;
  if (value === 0) return "0 J";
  if (value < 1) return `${digits(value * 1000)} mJ`;
  if (value < 9995) return `${digits(value)} J`;
  return `${digits(value / 1000)} kJ`;
}

/** Joules of an answer in words: whose they are, and how they are known. */
export function energy(of) {
  const phases = known(of.prefill_joules) && known(of.decode_joules) ? `${joules(of.prefill_joules)} prefill, ${joules(of.decode_joules)} decode; ` : "";
  const by = { metered: `metered (${of.source})`, declared: "from declared watts, not measured", emulated: "emulated: the board does not exist" }[of.provenance] ?? of.source;
  const error = known(of.error) ? `, ± ${Math.round(of.error * 100)} %` : "";
  return `${joules(of.marginal_joules)} above idle (${phases}${joules(of.total_joules)} with idle); ${of.scope}, ${by}${error}`;
}

export function watts(value) {
  if (!known(value)) return DASH;
  return value < 999.5 ? `${digits(value)} W` : `${digits(value / 1000)} kW`;
}

export function bytes(value) {
  if (!known(value)) return DASH;
  if (value < 999_500) return `${digits(value / 1e3)} kB`;
  return value < 999_500_000 ? `${digits(value / 1e6)} MB` : `${digits(value / 1e9)} GB`;
}

export function celsius(value) {
  return known(value) ? `${Math.round(value)} °C` : DASH;
}

export function rate(value, unit) {
  return known(value) ? `${digits(value)} ${unit}` : DASH;
}

export function count(value) {
  return known(value) ? Math.round(value).toLocaleString("en") : DASH;
}

/** How much an actual figure is of a predicted one: `+12 %`. */
export function against(actual, predicted) {
  if (!known(actual) || !known(predicted) || predicted <= 0) return "";
  const by = Math.round((actual / predicted - 1) * 100);
  return by === 0 ? "±0 %" : `${by > 0 ? "+" : "−"}${Math.abs(by)} %`;
}

export function clock(unixMs) {
  return known(unixMs) ? new Date(unixMs).toLocaleTimeString("en-GB") : DASH;
}

/** A time of day, and its day where that is another one; of seconds since 1970. */
export function when(unixSeconds) {
  if (!known(unixSeconds)) return DASH;
  const at = new Date(unixSeconds * 1000);
  const two = (value) => String(value).padStart(2, "0");
  const time = `${two(at.getHours())}:${two(at.getMinutes())}`;
  return at.toDateString() === new Date().toDateString() ? time : `${at.toLocaleDateString("en-GB", { day: "numeric", month: "short" })}, ${time}`;
}

/** What something takes, roughly. */
export function span(ms) {
  return known(ms) && ms < 1000 ? "a second" : ago(ms);
}

/** Some time ago. */
export function ago(msAgo) {
  if (!known(msAgo)) return DASH;
  if (msAgo < 60_000) return `${Math.round(msAgo / 1000)} s`;
  return msAgo < 3_600_000 ? `${Math.round(msAgo / 60_000)} min` : `${Math.round(msAgo / 3_600_000)} h`;
}

/** The part of an id or a digest that people tell apart. */
export function short(id) {
  const text = String(id ?? "");
  return text.length > 14 ? text.slice(0, 10) : text;
}

/** Texts from outside may be long, or change the direction of what follows; a line shows this much of them. */
export function line(text, most = 80) {
  const plain = String(text ?? "").replace(/[\u0000-\u001f\u007f\u200e\u200f\u202a-\u202e\u2066-\u2069]/g, " ");
  return plain.length > most ? `${plain.slice(0, most - 1)}…` : plain;
}
