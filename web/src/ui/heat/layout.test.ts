import { expect, test } from "vitest";
import { cellAt, type HeatGroup, layoutHeat, SIZES } from "./layout";

function groups(clients: number, gpus: number): HeatGroup[] {
  return Array.from({ length: clients }, (_, client) => ({
    key: `node${client}`,
    label: `node${client}`,
    cells: Array.from({ length: gpus }, (_, gpu) => ({
      key: `${client}/${gpu}`,
      label: `gpu:${gpu}`,
      share: 0.5,
      text: "50 %",
      lines: [],
    })),
  }));
}

test("few GPUs are drawn large", () => expect(layoutHeat(groups(1, 4), 640, 420).size).toBe(SIZES[0]));

test.each([640, 340])("1,000 GPUs stand side by side, none on another, %i px wide", (width) => {
  const { cells, size, height } = layoutHeat(groups(125, 8), width, 420);
  expect(cells).toHaveLength(1000);
  expect(size).toBe(SIZES.at(-1));
  expect(height).toBeLessThan(1600);
  const taken = new Set<string>();
  for (const cell of cells) {
    expect(cell.x).toBeGreaterThanOrEqual(0);
    expect(cell.x + size).toBeLessThanOrEqual(width);
    taken.add(`${cell.x} ${cell.y}`);
  }
  expect(taken.size).toBe(1000);
});

test("the cell under a point", () => {
  const layout = layoutHeat(groups(2, 2), 640, 420);
  layout.cells.forEach((cell, index) => expect(cellAt(layout, cell.x + 1, cell.y + 1)).toBe(index));
  expect(cellAt(layout, 0, 2)).toBe(-1);
});
