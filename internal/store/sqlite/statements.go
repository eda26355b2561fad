package sqlite

import (
	"context"
	"database/sql/driver"
	"errors"
	"strings"
)

// SQLite compiles a statement each time that its text comes, which takes longer than
// to run most of ours. So each connection keeps what it has compiled, by its text,
// until it closes. SQLite itself compiles again what a change of the schema has made
// stale.

// maxStatements are the texts that a connection keeps. There are fewer in the
// program; where texts are built from parts, all are dropped now and then.
const maxStatements = 256

// connector opens connections that keep their statements.
type connector struct{ driver.Connector }

// Connect implements [driver.Connector].
func (c connector) Connect(ctx context.Context) (driver.Conn, error) {
	inner, err := c.Connector.Connect(ctx)
	if err != nil {
		return nil, err
	}
	all, ok := inner.(sqliteConn)
	if !ok {
		return nil, errors.Join(errors.New("sqlite: the driver lacks what is needed of it"), inner.Close())
	}
	return &conn{sqliteConn: all, free: map[string][]statement{}}, nil
}

// sqliteConn is what the driver's connections do.
type sqliteConn interface {
	driver.Conn
	driver.ConnBeginTx
	driver.ConnPrepareContext
	driver.ExecerContext
	driver.QueryerContext
	driver.Pinger
	driver.SessionResetter
	driver.Validator
}

type statement interface {
	driver.Stmt
	driver.StmtExecContext
	driver.StmtQueryContext
}

// conn is one connection, which one goroutine uses at a time.
type conn struct {
	sqliteConn
	free map[string][]statement // by text, those that are not running
}

// kept says whether a text is worth keeping: not what comes once, and not scripts.
func kept(query string) bool {
	verb, _, _ := strings.Cut(query, " ")
	switch verb {
	case "SELECT", "INSERT", "UPDATE", "DELETE", "WITH", "BEGIN", "COMMIT", "ROLLBACK", "SAVEPOINT", "RELEASE":
		return !strings.Contains(query, ";")
	}
	return false
}

// take returns a statement that is not running, with all parameters empty.
func (c *conn) take(ctx context.Context, query string) (statement, error) {
	if all := c.free[query]; len(all) > 0 {
		s := all[len(all)-1]
		c.free[query] = all[:len(all)-1]
		return s, nil
	}
	s, err := c.PrepareContext(ctx, query)
	if err != nil {
		return nil, err
	}
	prepared, ok := s.(statement)
	if !ok {
		return nil, errors.Join(driver.ErrSkip, s.Close())
	}
	return prepared, nil
}

// give keeps a statement that has ended, unless it failed.
func (c *conn) give(query string, s statement, err error) error {
	if err != nil {
		return s.Close()
	}
	if _, known := c.free[query]; !known && len(c.free) >= maxStatements {
		if err := c.drop(); err != nil {
			return errors.Join(err, s.Close())
		}
	}
	c.free[query] = append(c.free[query], s)
	return nil
}

// drop closes all that are not running.
func (c *conn) drop() error {
	var errs []error
	for _, all := range c.free {
		for _, s := range all {
			errs = append(errs, s.Close())
		}
	}
	clear(c.free)
	return errors.Join(errs...)
}

// Close implements [driver.Conn].
func (c *conn) Close() error { return errors.Join(c.drop(), c.sqliteConn.Close()) }

// ExecContext implements [driver.ExecerContext].
func (c *conn) ExecContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Result, error) {
	if !kept(query) {
		return c.sqliteConn.ExecContext(ctx, query, args)
	}
	s, err := c.take(ctx, query)
	if err != nil {
		return nil, err
	}
	result, err := s.ExecContext(ctx, args)
	return result, errors.Join(err, c.give(query, s, err))
}

// QueryContext implements [driver.QueryerContext].
func (c *conn) QueryContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Rows, error) {
	if !kept(query) {
		return c.sqliteConn.QueryContext(ctx, query, args)
	}
	s, err := c.take(ctx, query)
	if err != nil {
		return nil, err
	}
	found, err := s.QueryContext(ctx, args)
	if err != nil {
		return nil, errors.Join(err, c.give(query, s, err))
	}
	return &rows{Rows: found, conn: c, query: query, statement: s}, nil
}

// rows are what a statement finds. The statement runs until they are closed.
type rows struct {
	driver.Rows
	conn      *conn
	query     string
	statement statement
}

// Close implements [driver.Rows].
func (r *rows) Close() error {
	if r.statement == nil {
		return nil
	}
	err := r.Rows.Close()
	s := r.statement
	r.statement = nil
	return errors.Join(err, r.conn.give(r.query, s, err))
}
