-- The server of the tests: loopback, TLS, SCRAM, stream management, and a node per account. The test fills in @...@.
run_as_root = true -- a build machine may have no other user
daemonize = false
pidfile = "@FOLDER@/prosody.pid"
data_path = "@FOLDER@/data"
log = { info = "@LOG@" }
interfaces = { "127.0.0.1" }
c2s_ports = { @PORT@ }
c2s_require_encryption = true
network_settings = { tcp_backlog = 1024 }
authentication = "internal_plain"
disable_sasl_mechanisms = { "PLAIN" }
modules_enabled = { "saslauth", "tls", "disco", "ping", "smacks" }
admins = { "publisher@example.test" } -- who may publish on every node
modules_disabled = { "s2s", "offline" }
ssl = { key = "@FOLDER@/key.pem", certificate = "@FOLDER@/certificate.pem" }

VirtualHost "example.test"

Component "pubsub.active-calls.example.test" "pubsub"
