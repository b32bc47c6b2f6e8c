import { Undo2 } from "lucide-react";
import { Fragment, useId } from "react";
import { cx } from "@/lib/cx";
import { Button } from "@/ui/button";
import { Input, NativeSelect } from "@/ui/field";
import { asText, type Edits, type Spec } from "./clone-model";
import css from "./ops.module.css";

interface CloneKeysProps {
  spec: Spec;
  keys: readonly string[];
  edits: Edits;
  onEdit(edits: Edits): void;
}

/** One field a key, with the parent's value in it. */
export function CloneKeys({ spec, keys, edits, onEdit }: CloneKeysProps) {
  const id = useId();
  return (
    <div className={css.keys}>
      {keys.map((key) => {
        const before = asText(spec[key]);
        const isChanged = key in edits && edits[key] !== before;
        return (
          <div key={key} className={cx(css.key, isChanged && css.keyChanged)}>
            <label htmlFor={`${id}${key}`} className="mono">
              {key.split("_").map((word, index) => (
                // It breaks between words where it must.
                <Fragment key={index}>
                  {index > 0 && (
                    <>
                      _<wbr />
                    </>
                  )}
                  {word}
                </Fragment>
              ))}
            </label>
            {typeof spec[key] === "boolean" ? (
              <NativeSelect
                id={`${id}${key}`}
                value={edits[key] ?? before}
                onChange={(event) => onEdit({ ...edits, [key]: event.target.value })}
              >
                <option>true</option>
                <option>false</option>
              </NativeSelect>
            ) : (
              <Input
                id={`${id}${key}`}
                value={edits[key] ?? before}
                placeholder="not set"
                spellCheck={false}
                onChange={(event) => onEdit({ ...edits, [key]: event.target.value })}
              />
            )}
            {isChanged && (
              <Button
                kind="ghost"
                label={`Back to ${before || "not set"}`}
                onClick={() => onEdit({ ...edits, [key]: before })}
              >
                <Undo2 size={13} aria-hidden />
              </Button>
            )}
          </div>
        );
      })}
    </div>
  );
}
