package main

import (
	"encoding/json"
	"fmt"
	"io"
	"runtime"

	"zeropass.dev/zeropass/internal/load"
)

// figure is one thing that was measured.
type figure struct {
	Run    string  `json:"run"`  // machine, sqlite, postgres or all
	Name   string  `json:"name"` // does not change
	Says   string  `json:"says"`
	Value  float64 `json:"value"`
	Unit   string  `json:"unit,omitempty"`
	Most   float64 `json:"target,omitempty"`    // that the project wants it to be
	Of     string  `json:"operation,omitempty"` // whose figure it is, if it is one's
	Column string  `json:"-"`                   // the end of its name then
}

// report is what was measured, in its order.
type report struct{ figures []figure }

func (r *report) add(run, name, says string, value float64, unit string) {
	r.figures = append(r.figures, figure{Run: run, Name: name, Says: says, Value: value, Unit: unit})
}

// target adds a ratio that the project has promised to keep below a bound.
func (r *report) target(run, name, says string, value, most float64) {
	r.figures = append(r.figures, figure{Run: run, Name: name, Says: says, Value: value, Most: most})
}

// of adds a figure of an operation.
func (r *report) of(run, name, operation, column, says string, value float64, unit string) {
	r.figures = append(r.figures, figure{
		Run: run, Name: name + "_" + column, Says: operation + ": " + says, Value: value, Unit: unit, Of: operation, Column: column,
	})
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

// machine says what the figures were measured on.
func (r *report) machine() {
	r.add("machine", "processors", "processors", float64(runtime.NumCPU()), "")
	pinned := 0.0
	if load.Pinned() {
		pinned = 1
	}
	r.add("machine", "server_processors", "of them the server's alone, the load having another one", pinned, "")
}

func figureName(name string, n int) string { return fmt.Sprintf("%s_%d", name, n) }
