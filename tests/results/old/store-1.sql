BEGIN TRANSACTION;
CREATE TABLE journals (
	journal_key INTEGER NOT NULL, 
	journal TEXT NOT NULL, 
	run_id TEXT NOT NULL, 
	run TEXT NOT NULL, 
	PRIMARY KEY (journal_key), 
	UNIQUE (journal)
);
INSERT INTO "journals" VALUES(1,'323e3bb1853740619128486feff4fbf3','version-1','{"run_id": "version-1", "started_at": "2026-01-01T10:00:00.000+00:00", "finished_at": "2026-11-25T22:23:05.267+00:00", "command": "clusterbench run --preset quick", "status": "finished", "exit_code": 0, "seed": 1, "schema_version": 1, "environment": {"host": {"name": "synthetic-host", "os": "Synthetic Linux 12", "kernel": "6.1.0", "container": null}, "cpu": {"model": "Synthetic CPU, 4 cores", "architecture": "x86_64", "physical_cores": 4, "affinity": [0, 1, 2, 3], "governor": "performance", "caches": [{"level": 1, "type": "Data", "size_bytes": 32768}, {"level": 3, "type": "Unified", "size_bytes": 33554432}]}, "memory": {"total_bytes": 33500000000, "available_bytes": 17179869184}, "gpus": [], "gpus_found_by": "no NVML, nvidia-smi or rocm-smi", "versions": {"python": "3.11.7", "numpy": "2.4.6", "numba": "0.63.0", "mpi4py": "4.1.2"}, "mpi": {"family": "mpich", "version": "5.0.2", "thread_level": "single", "ranks": 4}, "pinning": {"rank 0": [0], "rank 1": [1], "rank 2": [2], "rank 3": [3]}, "backends": [{"backend": "numba", "mode": "native", "version": "0.63.0", "reason": ""}, {"backend": "triton", "mode": "interpreter", "version": "3.9.0", "reason": "no GPU: sources run in the interpreter"}, {"backend": "numba-cuda", "mode": "simulator", "version": "0.30.1", "reason": "no GPU: sources run in the simulator"}, {"backend": "cupy", "mode": "absent", "version": null, "reason": "cupy is not installed"}]}, "failures": []}');
CREATE TABLE measurements (
	row_id INTEGER NOT NULL, 
	run_id TEXT NOT NULL, 
	suite TEXT NOT NULL, 
	name TEXT NOT NULL, 
	algorithm TEXT NOT NULL, 
	transport TEXT NOT NULL, 
	backend TEXT NOT NULL, 
	dtype TEXT NOT NULL, 
	op TEXT NOT NULL, 
	root BIGINT NOT NULL, 
	placement TEXT NOT NULL, 
	count BIGINT NOT NULL, 
	size_bytes BIGINT NOT NULL, 
	shape TEXT NOT NULL, 
	ranks BIGINT NOT NULL, 
	nodes BIGINT NOT NULL, 
	median_s DOUBLE, 
	ci95_low_s DOUBLE, 
	ci95_high_s DOUBLE, 
	min_s DOUBLE, 
	mean_s DOUBLE, 
	p95_s DOUBLE, 
	p99_s DOUBLE, 
	n BIGINT NOT NULL, 
	batch BIGINT NOT NULL, 
	warmup BIGINT NOT NULL, 
	sample_unit TEXT NOT NULL, 
	stop TEXT NOT NULL, 
	algbw DOUBLE, 
	busbw DOUBLE, 
	bytes_per_s DOUBLE, 
	flop_per_s DOUBLE, 
	bound_s DOUBLE, 
	bound_share DOUBLE, 
	bound_by TEXT NOT NULL, 
	expected_s DOUBLE, 
	expected_share DOUBLE, 
	wrong BIGINT, 
	error_over_bound DOUBLE, 
	verdict TEXT, 
	reason TEXT NOT NULL, 
	culprit TEXT NOT NULL, 
	host TEXT NOT NULL, 
	device TEXT NOT NULL, 
	topology TEXT NOT NULL, 
	evidence TEXT NOT NULL, 
	origin TEXT NOT NULL, 
	note TEXT NOT NULL, 
	started_at TEXT NOT NULL, 
	PRIMARY KEY (row_id)
);
INSERT INTO "measurements" VALUES(4294967298,'version-1','roof','copy','','','numba','float64','',-1,'',0,0,'',1,1,NULL,NULL,NULL,NULL,NULL,NULL,NULL,0,1,0,'','',NULL,NULL,14200000000.0,NULL,NULL,NULL,'',NULL,NULL,NULL,NULL,NULL,'','','synthetic-host','Synthetic CPU, 4 cores','','measured','own','','2026-01-01T10:00:01.000+00:00');
INSERT INTO "measurements" VALUES(4294967299,'version-1','kernels','triad','','','numba','float32','',-1,'',0,16777216,'n=2097152',1,1,1.28049562256231938897e-03,1.27742978579958236899e-03,1.28369420705567115724e-03,1.27053848863795332616e-03,1.2824272755460434936e-03,1.29828116606163675161e-03,NULL,40,1,0,'','',NULL,NULL,1.31021267893350276949e+10,1.09184389911125230792e+09,1.18149408450704236986e-03,9.22684985164438753457e-01,'copy bandwidth',NULL,NULL,0,0.1,'PASS','','','synthetic-host','Synthetic CPU, 4 cores','','measured','own','','2026-01-01T10:00:01.000+00:00');
INSERT INTO "measurements" VALUES(4294967300,'version-1','kernels','triad','','','triton','float32','',-1,'',0,0,'n=1009',1,1,NULL,NULL,NULL,NULL,NULL,NULL,NULL,0,1,0,'','',NULL,NULL,NULL,NULL,NULL,NULL,'',NULL,NULL,0,0.21,'PASS','','','synthetic-host','Synthetic CPU, 4 cores','','simulated','own','Triton''s interpreter: no GPU','2026-01-01T10:00:01.000+00:00');
INSERT INTO "measurements" VALUES(4294967301,'version-1','collectives','all_reduce','library','mpi','','float32','sum',-1,'out_of_place',2,8,'',4,1,1.61110663067770876785e-06,1.60908138298315811997e-06,1.61721128240918510503e-06,1.60227198599869230487e-06,1.61527543397789037802e-06,1.64620988378220313094e-06,NULL,40,1,0,'one call, the slowest rank','',4.9655310503159034996e+06,7.4482965754738552494e+06,NULL,NULL,NULL,NULL,'',NULL,NULL,0,NULL,'PASS','','','synthetic-host','Synthetic CPU, 4 cores','','measured','own','','2026-01-01T10:00:01.000+00:00');
CREATE TABLE runs (
	run_id TEXT NOT NULL, 
	started_at TEXT NOT NULL, 
	finished_at TEXT NOT NULL, 
	command TEXT NOT NULL, 
	status TEXT NOT NULL, 
	exit_code BIGINT, 
	seed BIGINT, 
	schema_version BIGINT NOT NULL, 
	environment TEXT NOT NULL, 
	failures TEXT NOT NULL, 
	PRIMARY KEY (run_id)
);
INSERT INTO "runs" VALUES('version-1','2026-01-01T10:00:00.000+00:00','2026-11-25T22:23:05.267+00:00','clusterbench run --preset quick','finished',0,1,1,'{"host": {"name": "synthetic-host", "os": "Synthetic Linux 12", "kernel": "6.1.0", "container": null}, "cpu": {"model": "Synthetic CPU, 4 cores", "architecture": "x86_64", "physical_cores": 4, "affinity": [0, 1, 2, 3], "governor": "performance", "caches": [{"level": 1, "type": "Data", "size_bytes": 32768}, {"level": 3, "type": "Unified", "size_bytes": 33554432}]}, "memory": {"total_bytes": 33500000000, "available_bytes": 17179869184}, "gpus": [], "gpus_found_by": "no NVML, nvidia-smi or rocm-smi", "versions": {"python": "3.11.7", "numpy": "2.4.6", "numba": "0.63.0", "mpi4py": "4.1.2"}, "mpi": {"family": "mpich", "version": "5.0.2", "thread_level": "single", "ranks": 4}, "pinning": {"rank 0": [0], "rank 1": [1], "rank 2": [2], "rank 3": [3]}, "backends": [{"backend": "numba", "mode": "native", "version": "0.63.0", "reason": ""}, {"backend": "triton", "mode": "interpreter", "version": "3.9.0", "reason": "no GPU: sources run in the interpreter"}, {"backend": "numba-cuda", "mode": "simulator", "version": "0.30.1", "reason": "no GPU: sources run in the simulator"}, {"backend": "cupy", "mode": "absent", "version": null, "reason": "cupy is not installed"}]}','[]');
CREATE TABLE samples (
	row_id INTEGER NOT NULL, 
	seconds BLOB NOT NULL, 
	PRIMARY KEY (row_id), 
	FOREIGN KEY(row_id) REFERENCES measurements (row_id)
);
INSERT INTO "samples" VALUES(4294967299,X'5C69910CC7DF543F4E28658FFAD8543F85A6FD339138553F18EE6A7C33D6543F184307B0A6F5543FE8E7FBF6A512553F4FF07B2872D1543F4C4FC8EE28FC543F62332364E159553FD20DDB1EAC06553FF5B50F411A01553F9CC77373B913553FB635E3E56C3E553F3E9F1A1BB1E5543F1AD814A0E9FA543F964141821831553FE79038BC8F05553F014FFD94B317553F36369AB7D805553FE3DBC9C9EDED543FEE4B2C620B09553F6313B10E4B39553F23C4AE585AEF543F57A6CA283408553F9A9114C9A9FA543F1D8460F1FF7C553F3157D802BAE6543F254724FA781D553F4E5B2279FBED543FE22AA9E863D3543FFD077F045123553F2E9B73AF08F0543FFDF461023BE8543F9BD3EBE2A2DC543F9B562F1F5BDF543F0AD7725006D1543FE8E777A64E44553F20DAFD7417E7543F2CF7C41C6DE2543FA4CC9E8F11F2543F');
INSERT INTO "samples" VALUES(4294967301,X'2EDCA48BF406BB3EB152CA96792EBB3E3670F1ADB4E1BA3E734E4F8768E3BA3EE5827569D3F2BA3E36CFEFC525E6BA3E4F9C9572EC05BB3EAE3988254B0ABB3EF806E84B711EBB3EF195DEC6093ABB3ECA26DB34D405BB3EECC70AC27A37BB3EA8743254323EBB3E839F263C1F9DBB3E1BEB4B5AF7EBBA3E3A24324E8EE3BA3E0A3441533B0BBB3E522870FED9F8BA3EDC650D9CDE21BB3EC01B2DC286E8BA3E1CD2FFE48BEABA3EF00A19A4661ABB3EF73047B12B2BBB3E93C8EC29E642BB3ECC6489ABB400BB3E31840D675808BB3E697B7289B2F0BA3E91051D8FAFF2BA3E2D361AB708B7BB3EF1FCCCB0F3FEBA3EFA49FD997848BB3E9E1DF013DAC0BB3E54284FCD6253BB3E153BAE4BB201BB3ED9DCE97B96EBBA3EBC7ACE583A10BB3EFAF545E180E2BA3EB142824087FFBA3E854E9B0C8A2DBB3ED9EA640B224CBB3E');
CREATE TABLE schema_version (
	version INTEGER NOT NULL
);
INSERT INTO "schema_version" VALUES(1);
CREATE INDEX ix_journals_run_id ON journals (run_id);
CREATE INDEX measurements_by_verdict ON measurements (verdict);
CREATE INDEX measurements_by_point ON measurements (suite, name, algorithm);
CREATE INDEX measurements_by_run ON measurements (run_id, suite);
COMMIT;
