package postgres

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"fmt"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"zeropass.dev/zeropass/internal/store/sqlstore"
)

// transaction is one that changes something. Each question to PostgreSQL takes a round
// trip, and most statements are none: they wait here for the next one, and go in front
// of it, the first ones with BEGIN and the last ones with COMMIT. PostgreSQL runs one
// after the other, each on a snapshot of its own, so what is read after a lock is as
// the lock found it. When one fails it passes over those that came with it, COMMIT too.
type transaction struct {
	*connection
	begun      bool
	mayRefuse  bool // one that waits may turn out wrong, which PostgreSQL does not know
	committing bool // COMMIT was sent
}

var _ sqlstore.Tx = (*transaction)(nil)

const (
	beginning = `begin isolation level read committed`
	ending    = `commit`
)

// Later implements [sqlstore.Tx].
func (t *transaction) Later(_ context.Context, otherwise error, query string, args ...any) error {
	t.wait(question{query: query, args: args, wrong: otherwise})
	return nil
}

func (t *transaction) wait(q question) {
	if !t.begun {
		t.begun = true
		t.waits = append(t.waits[:0], question{query: beginning})
	}
	t.waits = append(t.waits, q)
	t.mayRefuse = t.mayRefuse || q.wrong != nil
}

// send sends what waits, and reads the answers to all but so many of the last. Who
// calls it closes the pipeline that it returns.
func (t *transaction) send(unread int) (*pgconn.Pipeline, error) {
	sent := t.waits
	t.waits, t.mayRefuse = t.waits[:0], false
	if err := t.prepare(sent); err != nil {
		return nil, &unsentError{err}
	}
	pipeline := t.conn.PgConn().StartPipeline(context.Background())
	for _, q := range sent {
		s := t.statements[q.query]
		values, formats, err := t.encode(s, q.args)
		if err != nil {
			_ = pipeline.Close() // and the connection, if there was something before
			return nil, &unsentError{err}
		}
		pipeline.SendQueryStatement(s.StatementDescription, values, formats, s.formats)
	}
	if err := pipeline.Sync(); err != nil {
		_ = pipeline.Close() // the same error
		return nil, err
	}
	for _, q := range sent[:len(sent)-unread] {
		if err := t.read(pipeline, q); err != nil {
			// If PostgreSQL has ended the transaction meanwhile, that comes first.
			if worse := pipeline.Close(); worse != nil {
				err = worse
			}
			return nil, t.noticed(err)
		}
	}
	return pipeline, nil
}

// read reads the answer to a question.
func (t *transaction) read(pipeline *pgconn.Pipeline, q question) error {
	found, err := results(pipeline)
	if err != nil {
		return err
	}
	if q.places != nil {
		*q.answer, err = t.scanOne(found, q.places)
		return err
	}
	tag, err := found.Close()
	if err == nil && q.wrong != nil && tag.RowsAffected() != 1 {
		err = q.wrong
	}
	return err
}

// results are those of the next statement.
func results(pipeline *pgconn.Pipeline) (*pgconn.ResultReader, error) {
	next, err := pipeline.GetResults()
	if err != nil {
		return nil, err
	}
	found, ok := next.(*pgconn.ResultReader)
	if !ok {
		return nil, fmt.Errorf("postgres: %T is no result", next)
	}
	return found, nil
}

// execute waits for the end of the next statement.
func execute(pipeline *pgconn.Pipeline) (pgconn.CommandTag, error) {
	found, err := results(pipeline)
	if err != nil {
		return pgconn.CommandTag{}, err
	}
	return found.Close()
}

// last sends what waits, and waits for the end of the last one.
func (t *transaction) last() (pgconn.CommandTag, error) {
	pipeline, err := t.send(1)
	if err != nil {
		return pgconn.CommandTag{}, err
	}
	tag, err := execute(pipeline)
	if closed := pipeline.Close(); err == nil {
		err = closed
	}
	return tag, t.noticed(err)
}

// ExecContext implements [sqlstore.Tx].
func (t *transaction) ExecContext(_ context.Context, query string, args ...any) (sql.Result, error) {
	t.wait(question{query: query, args: args})
	tag, err := t.last()
	if err != nil {
		return nil, err
	}
	return driver.RowsAffected(tag.RowsAffected()), nil
}

// QueryContext implements [sqlstore.Querier].
func (t *transaction) QueryContext(_ context.Context, query string, args ...any) (sqlstore.Rows, error) {
	t.wait(question{query: query, args: args})
	pipeline, err := t.send(1)
	if err != nil {
		return nil, err
	}
	found, err := results(pipeline)
	if err != nil {
		_ = pipeline.Close() // the connection's error is seen by who runs the change
		return nil, t.noticed(err)
	}
	return &rows{connection: t.connection, found: found, pipeline: pipeline}, nil
}

// QueryRowContext implements [sqlstore.Querier].
func (t *transaction) QueryRowContext(_ context.Context, query string, args ...any) sqlstore.Row {
	return &row{t, question{query: query, args: args}}
}

// Settle implements [sqlstore.Tx].
func (t *transaction) Settle(context.Context) error {
	if !t.mayRefuse {
		return nil
	}
	return t.settle()
}

// settle sends what waits, and reads all answers.
func (t *transaction) settle() error {
	pipeline, err := t.send(0)
	if err != nil {
		return err
	}
	return pipeline.Close()
}

// commit sends what waits and COMMIT, at once if only PostgreSQL can find something
// wrong with it. Where nothing was ever sent there is nothing to commit.
func (t *transaction) commit() error {
	if !t.begun {
		return nil
	}
	if err := t.Settle(context.Background()); err != nil {
		return err
	}
	t.wait(question{query: ending})
	t.committing = true
	tag, err := t.last()
	if err == nil && tag.String() != "COMMIT" {
		err = pgx.ErrTxCommitRollback
	}
	return err
}

// end undoes what was not committed.
func (t *transaction) end() {
	clear(t.waits[:cap(t.waits)]) // they are not kept for the next one
	t.waits = t.waits[:0]
	if !t.conn.IsClosed() && t.conn.PgConn().TxStatus() != 'I' {
		_, _ = t.conn.Exec(context.Background(), `rollback`) // or the connection is given up
	}
}

func (t *transaction) one(q question, places []any) error {
	var answer error
	q.places, q.answer = places, &answer
	t.wait(q)
	if err := t.settle(); err != nil {
		return err
	}
	return answer
}

// row is what a question finds, which goes when it is wanted.
type row struct {
	of interface {
		one(q question, places []any) error
	}
	question question
}

// Scan implements [sqlstore.Row].
func (r *row) Scan(places ...any) error { return r.of.one(r.question, places) }

// rows are what a question finds.
type rows struct {
	*connection
	found    *pgconn.ResultReader
	pipeline *pgconn.Pipeline // nil where the question came alone
	closed   bool
	err      error
}

// Next implements [sqlstore.Rows].
func (r *rows) Next() bool {
	if !r.closed && r.found.NextRow() {
		return true
	}
	_ = r.Close() // Err says it
	return false
}

// Scan implements [sqlstore.Rows].
func (r *rows) Scan(places ...any) error { return r.scan(r.found, places) }

// Err implements [sqlstore.Rows].
func (r *rows) Err() error { return r.err }

// Close implements [sqlstore.Rows].
func (r *rows) Close() error {
	if r.closed {
		return r.err
	}
	r.closed = true
	_, err := r.found.Close()
	if r.pipeline != nil {
		if closed := r.pipeline.Close(); err == nil {
			err = closed
		}
	}
	r.err = r.noticed(err)
	return r.err
}

// single is a connection for a statement that is a transaction of its own.
type single struct{ *connection }

func (s single) send(query string, args []any) (*pgconn.ResultReader, error) {
	if err := s.prepare([]question{{query: query}}); err != nil {
		return nil, err
	}
	known := s.statements[query]
	values, formats, err := s.encode(known, args)
	if err != nil {
		return nil, err
	}
	return s.conn.PgConn().ExecStatement(context.Background(), known.StatementDescription, values, formats, known.formats), nil
}

// QueryContext implements [sqlstore.Querier].
func (s single) QueryContext(_ context.Context, query string, args ...any) (sqlstore.Rows, error) {
	found, err := s.send(query, args)
	if err != nil {
		return nil, err
	}
	return &rows{connection: s.connection, found: found}, nil
}

// QueryRowContext implements [sqlstore.Querier].
func (s single) QueryRowContext(_ context.Context, query string, args ...any) sqlstore.Row {
	return &row{s, question{query: query, args: args}}
}

func (s single) one(q question, places []any) error {
	found, err := s.send(q.query, q.args)
	if err != nil {
		return err
	}
	answer, err := s.scanOne(found, places)
	if err != nil {
		return s.noticed(err)
	}
	return answer
}
