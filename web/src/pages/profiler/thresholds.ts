/** A person's own thresholds, as the address holds them. Pure. */
import { type Codec, listCodec } from "@/lib/url-state";

/** `panel:value,...` in base units. */
export const THRESHOLDS: Codec<Readonly<Record<string, number>>> = {
  read: (text) =>
    Object.fromEntries(
      listCodec
        .read(text)
        .map((one) => one.split(":"))
        .filter((parts) => parts.length === 2 && parts[1] !== "" && Number.isFinite(Number(parts[1])))
        .map(([panel, value]) => [panel, Number(value)]),
    ),
  write: (values) =>
    listCodec.write(Object.entries(values).map(([panel, value]) => `${panel}:${Number(value.toPrecision(9))}`)),
};
