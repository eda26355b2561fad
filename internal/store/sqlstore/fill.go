package sqlstore

import (
	"context"
	"fmt"
	"strings"
)

const (
	// fillValues is how many values a statement has at most where it makes a round
	// trip: each row has little of its cost then.
	fillValues = 1000
	// fillBytes is how many bytes of values wait for the rest of their statement.
	fillBytes = 4 << 20
)

// filling writes a table's rows, many in one statement.
type filling struct {
	tx      Tx
	table   string
	columns []string
	limit   int    // of values in a statement
	full    string // statement of as many rows as one may have; empty before the first
	values  []any
	bytes   int
}

func (w *filling) add(ctx context.Context, row []any) error {
	for _, value := range row {
		switch v := value.(type) {
		case []byte:
			w.bytes += len(v)
		case string:
			w.bytes += len(v)
		}
	}
	w.values = append(w.values, row...)
	if len(w.values) < w.most() && w.bytes < fillBytes {
		return nil
	}
	return w.flush(ctx)
}

// most returns how many values a full statement has.
func (w *filling) most() int { return max(1, w.limit/len(w.columns)) * len(w.columns) }

func (w *filling) flush(ctx context.Context) error {
	if len(w.values) == 0 {
		return nil
	}
	statement := w.full
	switch {
	case len(w.values) < w.most():
		statement = w.statement(len(w.values))
	case statement == "":
		statement = w.statement(w.most())
		w.full = statement
	}
	if _, err := w.tx.ExecContext(ctx, statement, w.values...); err != nil {
		return fmt.Errorf("the table %s: %w", w.table, err)
	}
	clear(w.values)
	w.values, w.bytes = w.values[:0], 0
	return nil
}

// statement inserts rows with so many values together.
func (w *filling) statement(values int) string {
	var b strings.Builder
	fmt.Fprintf(&b, `INSERT INTO %s (%s) VALUES `, w.table, strings.Join(w.columns, ", "))
	for n := range values {
		switch {
		case n == 0:
			b.WriteString("(")
		case n%len(w.columns) == 0:
			b.WriteString("), (")
		default:
			b.WriteString(", ")
		}
		fmt.Fprintf(&b, "$%d", n+1)
	}
	b.WriteString(")")
	return b.String()
}
