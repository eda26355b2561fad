package sqlstore

import (
	"context"
	"database/sql"
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
	limit   int       // of values in a statement
	full    *sql.Stmt // of as many rows as one may have; nil before the first
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

func (w *filling) flush(ctx context.Context) (err error) {
	if len(w.values) == 0 {
		return nil
	}
	if len(w.values) < w.most() {
		_, err = w.tx.ExecContext(ctx, w.statement(len(w.values)), w.values...)
	} else {
		if w.full == nil {
			if w.full, err = w.tx.PrepareContext(ctx, w.statement(w.most())); err != nil {
				return err
			}
		}
		_, err = w.full.ExecContext(ctx, w.values...)
	}
	if err != nil {
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

func (w *filling) close() {
	if w.full != nil {
		_ = w.full.Close() // nothing is in it any more
	}
}
