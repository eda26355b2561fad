package main

import (
	"encoding/json"
	"fmt"
	"io"
	"math"
	"strconv"
	"text/tabwriter"

	"zeropass.dev/zeropass/internal/load"
)

// figure is one line of the report.
type figure struct {
	Name  string  `json:"name"` // does not change
	Says  string  `json:"says"`
	Value float64 `json:"value"`
	Unit  string  `json:"unit,omitempty"`
}

// report is what was measured, in its order.
type report struct{ figures []figure }

func (r *report) add(name, says string, value float64, unit string) {
	r.figures = append(r.figures, figure{name, says, value, unit})
}

// latencies adds throughput and latencies of a run.
func (r *report) latencies(name, says string, result *load.Result) {
	r.add(name+"_rate", says+": per second", result.PerSecond(), "1/s")
	for _, p := range []float64{50, 95, 99} {
		r.add(fmt.Sprintf("%s_p%g", name, p), fmt.Sprintf("%s: p%g", says, p), float64(result.Percentile(p).Microseconds())/1e3, "ms")
	}
	r.add(name+"_shed", says+": refused as busy", float64(result.Shed), "")
}

func (r *report) json(w io.Writer) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(r.figures)
}

func (r *report) table(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, f := range r.figures {
		if _, err := fmt.Fprintf(t, "%s\t%s %s\n", f.Says, rounded(f.Value), f.Unit); err != nil {
			return err
		}
	}
	return t.Flush()
}

// rounded writes a number with three significant digits, or all before the point.
func rounded(v float64) string {
	digits := 2
	if v != 0 {
		digits = min(max(2-int(math.Floor(math.Log10(math.Abs(v)))), 0), 3)
	}
	return strconv.FormatFloat(v, 'f', digits, 64)
}
