package sqlstore

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"zeropass.dev/zeropass/internal/store"
)

// A copy of a store is the same whatever database it is in. It starts with
// copyVersion. For each table comes tableMark, its name, the number of its columns
// and their names, and for each of its rows rowMark and its values; then endMark and
// the number of all rows. A number is a varint (encoding/binary), signed among
// values and unsigned elsewhere; text and bytes have their length before them.
const (
	copyVersion = "zeropass-store v1\n"
	tableMark   = 'T'
	rowMark     = 'R'
	endMark     = 'E'
	// maxValue bounds what is read for one value, in bytes.
	maxValue = 256 << 20
)

// Export implements [store.Maintenance].
func (s *Store) Export(ctx context.Context, w io.Writer, begin func(store.Copy) error) error {
	return s.db.ReadWhole(ctx, func(ctx context.Context, tx Tx) error {
		what, err := contents(ctx, tx)
		if err != nil {
			return err
		}
		if err := begin(what); err != nil {
			return err
		}
		e := &exporter{w: bufio.NewWriter(w)}
		_, _ = e.w.WriteString(copyVersion) // Flush has the error
		for _, t := range tables {
			if err := e.table(ctx, tx, t); err != nil {
				return fmt.Errorf("copy the table %s: %w", t.name, err)
			}
		}
		_ = e.w.WriteByte(endMark)
		e.number(e.rows)
		return e.w.Flush()
	})
}

func contents(ctx context.Context, tx Tx) (store.Copy, error) {
	var what store.Copy
	if err := tx.QueryRowContext(ctx, `SELECT COUNT(*) FROM accounts`).Scan(&what.Accounts); err != nil {
		return store.Copy{}, err
	}
	var err error
	what.Keys, err = owner(ctx, tx)
	return what, err
}

type exporter struct {
	w    *bufio.Writer
	rows uint64
}

func (e *exporter) number(n uint64) { _, _ = e.w.Write(binary.AppendUvarint(nil, n)) }

func (e *exporter) text(s string) {
	e.number(uint64(len(s)))
	_, _ = e.w.WriteString(s)
}

func (e *exporter) table(ctx context.Context, tx Tx, t table) error {
	_ = e.w.WriteByte(tableMark)
	e.text(t.name)
	e.number(uint64(len(t.columns)))
	for _, c := range t.columns {
		e.text(c.name)
	}
	rows, err := tx.QueryContext(ctx, `SELECT `+strings.Join(names(t.columns), ", ")+` FROM `+t.name+` ORDER BY `+t.order)
	return collect(rows, err, func(rows Rows) (bool, error) {
		values := places(t.columns)
		if err := rows.Scan(values...); err != nil {
			return false, err
		}
		e.rows++
		if err := e.w.WriteByte(rowMark); err != nil {
			return false, err // whoever reads the copy has gone
		}
		for _, value := range values {
			switch v := value.(type) {
			case *[]byte:
				e.number(uint64(len(*v)))
				_, _ = e.w.Write(*v)
			case *string:
				e.text(*v)
			case *int64:
				_, _ = e.w.Write(binary.AppendVarint(nil, *v))
			case *bool:
				n := int64(0)
				if *v {
					n = 1
				}
				_, _ = e.w.Write(binary.AppendVarint(nil, n))
			}
		}
		return false, nil
	})
}

func names(columns []column) []string {
	var all []string
	for _, c := range columns {
		all = append(all, c.name)
	}
	return all
}

// places are where a row's values go.
func places(columns []column) []any {
	var all []any
	for _, c := range columns {
		switch c.kind {
		case bytesKind:
			all = append(all, new([]byte))
		case textKind:
			all = append(all, new(string))
		case intKind:
			all = append(all, new(int64))
		case boolKind:
			all = append(all, new(bool))
		}
	}
	return all
}

// Import implements [store.Maintenance].
func (s *Store) Import(ctx context.Context, r io.Reader, check func(context.Context, store.Maintained) error) error {
	fill := 1
	if s.db.LocksRows() { // and is another process, so that each statement waits for an answer
		fill = fillValues
	}
	err := s.db.ChangeWhole(ctx, func(ctx context.Context, tx Tx) error {
		for _, t := range tables {
			var filled bool
			if err := tx.QueryRowContext(ctx, `SELECT EXISTS (SELECT 1 FROM `+t.name+`)`).Scan(&filled); err != nil {
				return err
			}
			if filled {
				return store.ErrNotEmpty
			}
		}
		if err := (&importer{r: bufio.NewReader(r), tx: tx, fill: fill}).all(ctx); err != nil {
			return err
		}
		return check(ctx, New(&within{s.db, tx}))
	})
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("%w: it ends too early", store.ErrCopy)
	}
	return err
}

// View implements [store.Maintenance].
func (s *Store) View(ctx context.Context, f func(context.Context, store.Maintained) error) error {
	return s.db.ReadWhole(ctx, func(ctx context.Context, tx Tx) error { return f(ctx, New(&within{s.db, tx})) })
}

// within is a database as one transaction sees it, which need not be committed yet.
type within struct {
	Database
	tx Tx
}

func (w *within) Change(ctx context.Context, f func(context.Context, Tx) error) error {
	return f(ctx, w.tx)
}

func (w *within) ChangeWhole(ctx context.Context, f func(context.Context, Tx) error) error {
	return f(ctx, w.tx)
}

func (w *within) Read(ctx context.Context, f func(context.Context, Tx) error) error {
	return f(ctx, w.tx)
}

func (w *within) ReadOnce(ctx context.Context, f func(context.Context, Querier) error) error {
	return f(ctx, w.tx)
}

func (w *within) ReadWhole(ctx context.Context, f func(context.Context, Tx) error) error {
	return f(ctx, w.tx)
}

type importer struct {
	r    *bufio.Reader
	tx   Tx
	fill int // values in a statement
	rows uint64
}

func damaged(format string, args ...any) error {
	return fmt.Errorf("%w: %s", store.ErrCopy, fmt.Sprintf(format, args...))
}

func (i *importer) all(ctx context.Context) error {
	version := make([]byte, len(copyVersion))
	if _, err := io.ReadFull(i.r, version); err != nil {
		return err
	}
	if string(version) != copyVersion {
		return damaged("it does not start with %q", strings.TrimSpace(copyVersion))
	}
	seen := map[string]bool{}
	mark, err := i.r.ReadByte()
	for err == nil && mark == tableMark {
		var name string
		if name, mark, err = i.table(ctx); err != nil {
			return err
		}
		if seen[name] {
			return damaged("the table %q comes twice", name)
		}
		seen[name] = true
	}
	if err != nil {
		return err
	}
	if mark != endMark {
		return damaged("a mark %#x", mark)
	}
	count, err := binary.ReadUvarint(i.r)
	if err != nil {
		return err
	}
	if count != i.rows {
		return damaged("it names %d rows and has %d", count, i.rows)
	}
	if _, err := i.r.ReadByte(); !errors.Is(err, io.EOF) {
		return errors.Join(damaged("something follows its end"), err)
	}
	return nil
}

// table reads one table with its rows, and the mark after them.
func (i *importer) table(ctx context.Context) (name string, mark byte, err error) {
	name, columns, err := i.heading()
	if err != nil {
		return "", 0, err
	}
	w := &filling{tx: i.tx, table: name, columns: names(columns), limit: i.fill}
	for {
		if mark, err = i.r.ReadByte(); err != nil || mark != rowMark {
			return name, mark, errors.Join(err, w.flush(ctx))
		}
		values, err := i.row(columns)
		if err != nil {
			return "", 0, err
		}
		if err := w.add(ctx, values); err != nil {
			return "", 0, err
		}
		i.rows++
	}
}

// heading wants a table and columns that this program knows.
func (i *importer) heading() (string, []column, error) {
	name, err := i.text()
	if err != nil {
		return "", nil, err
	}
	at := slices.IndexFunc(tables, func(t table) bool { return t.name == name })
	if at < 0 {
		return "", nil, fmt.Errorf("%w: the copy has a table %q", store.ErrNewerSchema, name)
	}
	count, err := binary.ReadUvarint(i.r)
	if err != nil {
		return "", nil, err
	}
	var columns []column
	for range count {
		have, err := i.text()
		if err != nil {
			return "", nil, err
		}
		c := slices.IndexFunc(tables[at].columns, func(c column) bool { return c.name == have })
		if c < 0 {
			return "", nil, fmt.Errorf("%w: the copy has a column %q in %s", store.ErrNewerSchema, have, name)
		}
		if slices.Contains(columns, tables[at].columns[c]) {
			return "", nil, damaged("the column %q comes twice", have)
		}
		columns = append(columns, tables[at].columns[c])
	}
	if len(columns) == 0 {
		return "", nil, damaged("the table %q has no columns", name)
	}
	return name, columns, nil
}

func (i *importer) bytes() ([]byte, error) {
	n, err := binary.ReadUvarint(i.r)
	if err != nil {
		return nil, err
	}
	if n > maxValue {
		return nil, damaged("a value of %d bytes", n)
	}
	b := make([]byte, n) // empty, not NULL
	_, err = io.ReadFull(i.r, b)
	return b, err
}

func (i *importer) text() (string, error) {
	b, err := i.bytes()
	return string(b), err
}

func (i *importer) row(columns []column) ([]any, error) {
	values := make([]any, 0, len(columns))
	for _, c := range columns {
		var value any
		var err error
		switch c.kind {
		case bytesKind:
			value, err = i.bytes()
		case textKind:
			value, err = i.text()
		case intKind:
			value, err = binary.ReadVarint(i.r)
		case boolKind:
			var n int64
			n, err = binary.ReadVarint(i.r)
			value = n != 0
		}
		if err != nil {
			return nil, err
		}
		values = append(values, value)
	}
	return values, nil
}
