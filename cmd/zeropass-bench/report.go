package main

import (
	"encoding/json"
	"fmt"
	"io"
	"math"
	"runtime"
	"strconv"
	"strings"

	"zeropass.dev/zeropass/internal/load"
)

// figure is one line of the report.
type figure struct {
	Run   string  `json:"run"`  // machine, sqlite, postgres or all
	Name  string  `json:"name"` // does not change
	Says  string  `json:"says"`
	Value float64 `json:"value"`
	Unit  string  `json:"unit,omitempty"`
	Most  float64 `json:"target,omitempty"` // that the project wants it to be
}

// report is what was measured, in its order.
type report struct{ figures []figure }

func (r *report) add(run, name, says string, value float64, unit string) {
	r.figures = append(r.figures, figure{Run: run, Name: name, Says: says, Value: value, Unit: unit})
}

func (r *report) target(run, name, says string, value, most float64) {
	r.figures = append(r.figures, figure{Run: run, Name: name, Says: says, Value: value, Most: most})
}

// value returns a figure that was added.
func (r *report) value(run, name string) (float64, bool) {
	for _, f := range r.figures {
		if f.Run == run && f.Name == name {
			return f.Value, true
		}
	}
	return 0, false
}

func (r *report) json(w io.Writer) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(r.figures)
}

func (r *report) table(w io.Writer) error {
	last, widest := "", 0
	for _, f := range r.figures {
		widest = max(widest, len(f.Says))
	}
	for _, f := range r.figures {
		if f.Run != last {
			if _, err := fmt.Fprintf(w, "\n%s\n", f.Run); err != nil {
				return err
			}
			last = f.Run
		}
		line := fmt.Sprintf("  %-*s  %9s %-3s", widest, f.Says, rounded(f.Value), f.Unit)
		if f.Most != 0 {
			line += "  target: at most " + rounded(f.Most)
		}
		if _, err := fmt.Fprintln(w, strings.TrimRight(line, " ")); err != nil {
			return err
		}
	}
	return nil
}

// machine says what the figures were measured on.
func (r *report) machine() {
	r.add("machine", "processors", "processors", float64(runtime.NumCPU()), "")
	pinned := 0.0
	if load.Pinned() {
		pinned = 1
	}
	r.add("machine", "server_processors", "of them the server's alone, the load having another one", pinned, "")
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

func figureName(name string, n int) string { return fmt.Sprintf("%s_%d", name, n) }
