package postgres

import "testing"

func TestExposed(t *testing.T) {
	t.Setenv("PGSSLMODE", "")
	for url, want := range map[string]bool{
		"postgres://database.example/zeropass":                                             true, // prefer
		"postgres://database.example/zeropass?sslmode=disable":                             true,
		"postgres://database.example/zeropass?sslmode=allow":                               true,
		"postgres://database.example/zeropass?sslmode=require":                             true,
		"postgres://database.example/zeropass?sslmode=verify-ca":                           false,
		"postgres://database.example/zeropass?sslmode=verify-full":                         false,
		"postgres://10.0.0.7/zeropass":                                                     true,
		"postgres://localhost/zeropass":                                                    false,
		"postgres://[::1]:5432/zeropass":                                                   false,
		"postgres:///zeropass?host=/run/postgresql":                                        false,
		"postgres://localhost,database.example/zeropass":                                   true,
		"postgres://one.example:5432,two.example:5433/zeropass?sslmode=verify-full&user=z": false,
	} {
		if got, err := (Config{URL: url}).Exposed(); err != nil || got != want {
			t.Errorf("%s: %v, %v", url, got, err)
		}
	}
}
