package postgres

import (
	"crypto/tls"
	"net/netip"

	"github.com/jackc/pgx/v5/pgconn"
)

// Exposed says whether somebody on the way to the database could read what is sent,
// the password too, or stand in the database's place: TLS is not asked for, or whose
// certificate it is does not matter. Nobody stands on the way to this machine. It
// returns the errors of [Config.Check].
func (c Config) Exposed() (bool, error) {
	config, err := c.parse()
	if err != nil {
		return false, err
	}
	if isExposed(config.Host, config.Port, config.TLSConfig) {
		return true, nil
	}
	for _, other := range config.Fallbacks {
		if isExposed(other.Host, other.Port, other.TLSConfig) {
			return true, nil
		}
	}
	return false, nil
}

func isExposed(host string, port uint16, config *tls.Config) bool {
	if network, _ := pgconn.NetworkAddress(host, port); network == "unix" || host == "localhost" {
		return false
	}
	if ip, err := netip.ParseAddr(host); err == nil && ip.Unmap().IsLoopback() {
		return false
	}
	// verify-ca checks the issuer without the name, which takes a function.
	return config == nil || config.InsecureSkipVerify && config.VerifyPeerCertificate == nil
}
