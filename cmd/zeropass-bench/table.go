package main

import (
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// columns are what is measured of every operation, by the end of the figure's name.
var columns = []struct{ name, says string }{
	{"rate", "1/s"}, {"p50", "p50, ms"}, {"p95", "p95, ms"}, {"p99", "p99, ms"}, {"shed", "refused, %"},
	{"cpu", "server CPU, µs"}, {"database_cpu", "PostgreSQL's, µs"}, {"commits", "commits"}, {"bytes", "growth, B"},
}

// tables writes the report as Markdown, which docs/capacity.md takes as it is: what
// was promised, what was measured besides, and what operations did and cost.
func (r *report) tables(w io.Writer) error {
	runs := r.runs()
	var promised, besides [][]string
	operations := map[string][][]string{}
	for _, f := range r.figures {
		switch {
		case f.Of != "":
			operations[f.Run] = r.operation(operations[f.Run], f)
		case f.Most != 0:
			promised = r.row(promised, f, runs, "at most "+rounded(f.Most))
		case slices.Contains(runs, f.Run):
			besides = r.row(besides, f, runs, f.Unit)
		}
	}
	tables := [][][]string{
		append([][]string{append([]string{"promised", ""}, runs...)}, promised...),
		append([][]string{append([]string{"measured", ""}, runs...)}, besides...),
		append([][]string{{"machine", "", ""}}, r.machineRows(runs)...),
	}
	for _, run := range runs {
		head := []string{run}
		for _, c := range columns {
			head = append(head, c.says)
		}
		tables = append(tables, append([][]string{head}, operations[run]...))
	}
	for i, table := range tables {
		if i > 0 {
			if _, err := fmt.Fprintln(w); err != nil {
				return err
			}
		}
		if err := markdown(w, table); err != nil {
			return err
		}
	}
	return nil
}

// runs are the databases that were measured.
func (r *report) runs() []string {
	var runs []string
	for _, name := range []string{"sqlite", "postgres"} {
		if slices.ContainsFunc(r.figures, func(f figure) bool { return f.Run == name }) {
			runs = append(runs, name)
		}
	}
	return runs
}

// row puts a figure into the row of its name, in the column of its database.
func (r *report) row(rows [][]string, f figure, runs []string, second string) [][]string {
	i := slices.IndexFunc(rows, func(row []string) bool { return row[0] == f.Says })
	if i < 0 {
		i, rows = len(rows), append(rows, append([]string{f.Says, second}, make([]string, len(runs))...))
	}
	rows[i][2+slices.Index(runs, f.Run)] = rounded(f.Value)
	return rows
}

// operation puts a figure into the row of its operation.
func (r *report) operation(rows [][]string, f figure) [][]string {
	i := slices.IndexFunc(rows, func(row []string) bool { return row[0] == f.Of })
	if i < 0 {
		i, rows = len(rows), append(rows, append([]string{f.Of}, make([]string, len(columns))...))
	}
	for column, c := range columns {
		if f.Column == c.name {
			rows[i][1+column] = rounded(f.Value)
		}
	}
	return rows
}

// machineRows are the figures that are no database's.
func (r *report) machineRows(runs []string) [][]string {
	var rows [][]string
	for _, f := range r.figures {
		if !slices.Contains(runs, f.Run) {
			rows = append(rows, []string{f.Says, f.Unit, rounded(f.Value)})
		}
	}
	return rows
}

// markdown writes a table whose first column is text and whose others are numbers.
func markdown(w io.Writer, rows [][]string) error {
	width := make([]int, len(rows[0]))
	for _, row := range rows {
		for i, cell := range row {
			width[i] = max(width[i], utf8.RuneCountInString(cell))
		}
	}
	rule := []string{strings.Repeat("-", max(width[0], 3))}
	for _, n := range width[1:] {
		rule = append(rule, strings.Repeat("-", max(n-1, 2))+":")
	}
	for i, row := range slices.Insert(slices.Clone(rows), 1, rule) {
		var line strings.Builder
		for column, cell := range row {
			pad := strings.Repeat(" ", max(width[column]-utf8.RuneCountInString(cell), 0))
			if column == 0 || i == 1 {
				cell += pad
			} else {
				cell = pad + cell
			}
			line.WriteString("| " + cell + " ")
		}
		if _, err := fmt.Fprintln(w, line.String()+"|"); err != nil {
			return err
		}
	}
	return nil
}

// rounded writes a number with three significant digits, or all before the point.
func rounded(v float64) string {
	if v == math.Trunc(v) && math.Abs(v) < 1e15 {
		return grouped(int(v))
	}
	digits := min(max(2-int(math.Floor(math.Log10(math.Abs(v)))), 0), 3)
	if digits == 0 {
		return grouped(int(math.Round(v)))
	}
	return strconv.FormatFloat(v, 'f', digits, 64)
}

// grouped writes a number with commas between thousands.
func grouped(n int) string {
	s := strconv.Itoa(n)
	for i := len(s) - 3; i > 0 && s[i-1] != '-'; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}
