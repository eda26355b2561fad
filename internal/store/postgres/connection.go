package postgres

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"math"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgtype"
)

// connection is one to PostgreSQL, and what it needs to run the statements of changes
// and of single questions. There are few of them, with few types of values. Package pgx
// is ready for any, which takes it several times as long: here it is asked for what is
// not plain.
type connection struct {
	conn       *pgx.Conn
	statements map[string]*statement // that PostgreSQL knows, by their text
	spoiled    bool                  // it is closed after this use

	waits  []question // room for those of a transaction
	values [][]byte   // of the statement that is being sent
	buffer []byte     // that those lie in
}

// statement is one that PostgreSQL has prepared.
type statement struct {
	*pgconn.StatementDescription
	formats []int16 // of what it finds
}

// question is a statement that is to be run.
type question struct {
	query  string
	args   []any
	wrong  error  // what it is if it does not change one row, or nil
	places []any  // of the row that it finds, or nil
	answer *error // beside those: whether they have it
}

// mostStatements is how many statements a connection knows. The program has fewer, but
// for lists of different lengths.
const mostStatements = 1024

// customKey is where a connection of package pgx keeps ours.
const customKey = "zeropass"

// connectionOf returns what belongs to a connection.
func connectionOf(conn *pgx.Conn) *connection {
	custom := conn.PgConn().CustomData()
	c, ok := custom[customKey].(*connection)
	if !ok {
		c = &connection{conn: conn, statements: map[string]*statement{}}
		custom[customKey] = c
	}
	return c
}

// unsentError is what was wrong with a statement before it was sent.
type unsentError struct{ err error }

func (e *unsentError) Error() string { return fmt.Sprintf("postgres: not sent: %v", e.err) }
func (e *unsentError) Unwrap() error { return e.err }

// prepare lets PostgreSQL know the statements that it does not.
func (c *connection) prepare(questions []question) error {
	var missing map[string]*statement
	for _, q := range questions {
		if c.statements[q.query] == nil && missing[q.query] == nil {
			if missing == nil {
				missing = map[string]*statement{}
			}
			missing[q.query] = &statement{}
		}
	}
	if missing == nil {
		return nil
	}
	var queries []string
	pipeline := c.conn.PgConn().StartPipeline(context.Background())
	for query := range missing {
		queries = append(queries, query)
		pipeline.SendPrepare(statementName(query), query, nil)
	}
	err := pipeline.Sync()
	for i := 0; err == nil && i < len(queries); i++ {
		var results any
		if results, err = pipeline.GetResults(); err != nil {
			break
		}
		described, ok := results.(*pgconn.StatementDescription)
		if !ok {
			err = fmt.Errorf("postgres: %T is no description of a statement", results)
			break
		}
		described.Name = statementName(queries[i])
		s := missing[queries[i]]
		s.StatementDescription = described
		for _, field := range s.Fields {
			s.formats = append(s.formats, c.conn.TypeMap().FormatCodeForOID(field.DataTypeOID))
		}
	}
	if closed := pipeline.Close(); err == nil {
		err = closed
	}
	if err != nil {
		c.spoiled = true // it may know some of them
		return err
	}
	for query, s := range missing {
		c.statements[query] = s
	}
	c.spoiled = c.spoiled || len(c.statements) > mostStatements
	return nil
}

// statementName is what PostgreSQL knows a statement by.
func statementName(query string) string {
	hash := sha256.Sum256([]byte(query))
	return "zp_" + hex.EncodeToString(hash[:12])
}

// noticed looks at the error of a statement. One that PostgreSQL does not know any
// more, or knows with other columns, is known again over another connection.
func (c *connection) noticed(err error) error {
	if err != nil && hasCode(err, featureNotSupported, invalidStatementName) {
		c.spoiled = true
	}
	return err
}

// plain is the format of what encode and scan know themselves: PostgreSQL's binary one
// for all values.
var plain = []int16{pgtype.BinaryFormatCode}

// encode returns a statement's arguments, and their formats, until the next call.
func (c *connection) encode(s *statement, args []any) ([][]byte, []int16, error) {
	if len(args) != len(s.ParamOIDs) {
		return nil, nil, fmt.Errorf("postgres: %d arguments for %d places", len(args), len(s.ParamOIDs))
	}
	c.values, c.buffer = c.values[:0], c.buffer[:0]
	for i, arg := range args {
		if !c.encodePlain(s.ParamOIDs[i], arg) {
			var any pgx.ExtendedQueryBuilder
			if err := any.Build(c.conn.TypeMap(), s.StatementDescription, args); err != nil {
				return nil, nil, err
			}
			return any.ParamValues, any.ParamFormats, nil
		}
	}
	return c.values, plain, nil
}

// encodePlain adds a value, if it knows how.
func (c *connection) encodePlain(oid uint32, arg any) bool {
	begin := len(c.buffer)
	switch v := arg.(type) {
	case []byte:
		if oid != pgtype.ByteaOID {
			return false
		}
		c.values = append(c.values, v) // nil is NULL
		return true
	case string:
		if oid != pgtype.TextOID {
			return false
		}
		c.buffer = append(c.buffer, v...)
	case uint64:
		if oid != pgtype.Int8OID || v > math.MaxInt64 {
			return false
		}
		c.buffer = binary.BigEndian.AppendUint64(c.buffer, v)
	case int64:
		if oid != pgtype.Int8OID {
			return false
		}
		c.buffer = binary.BigEndian.AppendUint64(c.buffer, uint64(v))
	case int:
		if oid != pgtype.Int8OID {
			return false
		}
		c.buffer = binary.BigEndian.AppendUint64(c.buffer, uint64(v))
	case int32:
		if oid != pgtype.Int4OID {
			return false
		}
		c.buffer = binary.BigEndian.AppendUint32(c.buffer, uint32(v))
	default:
		return false
	}
	c.values = append(c.values, c.buffer[begin:len(c.buffer):len(c.buffer)])
	return true
}

// scan puts the values of a row where they belong.
func (c *connection) scan(results *pgconn.ResultReader, places []any) error {
	fields, values := results.FieldDescriptions(), results.Values()
	if len(places) != len(values) {
		return fmt.Errorf("postgres: %d places for %d columns", len(places), len(values))
	}
	for i, place := range places {
		if !scanPlain(fields[i].DataTypeOID, fields[i].Format, values[i], place) {
			if err := c.conn.TypeMap().Scan(fields[i].DataTypeOID, fields[i].Format, values[i], place); err != nil {
				return fmt.Errorf("postgres: column %d: %w", i+1, err)
			}
		}
	}
	return nil
}

// scanPlain puts a value where it belongs, if it knows how.
func scanPlain(oid uint32, format int16, value []byte, place any) bool {
	switch oid {
	case pgtype.ByteaOID:
		to, ok := place.(*[]byte)
		if !ok || format != pgtype.BinaryFormatCode {
			return false
		}
		*to = nil
		if value != nil {
			*to = append(make([]byte, 0, len(value)), value...)
		}
		return true
	case pgtype.TextOID:
		to, ok := place.(*string)
		if !ok || value == nil {
			return false
		}
		*to = string(value)
		return true
	case pgtype.BoolOID:
		to, ok := place.(*bool)
		if !ok || format != pgtype.BinaryFormatCode || len(value) != 1 {
			return false
		}
		*to = value[0] == 1
		return true
	case pgtype.Int8OID:
		if format != pgtype.BinaryFormatCode || len(value) != 8 {
			return false
		}
		n := int64(binary.BigEndian.Uint64(value))
		switch to := place.(type) {
		case *int64:
			*to = n
		case *uint64:
			if n < 0 {
				return false
			}
			*to = uint64(n)
		case *int:
			*to = int(n)
		default:
			return false
		}
		return true
	}
	return false
}

// scanOne puts the only row where it belongs. answer is whether it did; after err there
// is no answer.
func (c *connection) scanOne(results *pgconn.ResultReader, places []any) (answer, err error) {
	answer = sql.ErrNoRows
	if results.NextRow() {
		answer = c.scan(results, places)
	}
	_, err = results.Close()
	return answer, err
}
